"""Which neighbouring cells of a sweep's table are separated?

    python benchmarks/neighbours.py SWEEP --metric fid_digits64 --least 0.15

prints the difference of each two neighbours along a row and along a column, with its standard error and
whether its own 95 % interval leaves 0 out; and how many of those that differ by more than `least` are
separated.
"""

import argparse
from itertools import pairwise
from pathlib import Path

from diffexp.report.differences import of_pairs
from diffexp.report.table import pivot, read


def main() -> None:
    parser = argparse.ArgumentParser(description="Neighbouring cells of a sweep.")
    parser.add_argument("sweep", type=Path)
    parser.add_argument("--metric", default="fid_digits64")
    parser.add_argument("--least", type=float, default=0.15)
    args = parser.parse_args()
    snapshot = read(args.sweep)
    table = pivot(snapshot, args.metric)
    pairs, place = of_pairs(snapshot, args.metric)
    if pairs is None:
        parser.error("this sweep has no pairs of cells of which something can be said")
    along = {
        f"along {table.heads[1]}": [((r, a), (r, b)) for r in table.rows for a, b in pairwise(table.columns)],
        f"along {table.heads[0]}": [((a, c), (b, c)) for c in table.columns for a, b in pairwise(table.rows)],
    }
    print(f"| {args.metric} | cells | difference | separated |\n|---|---|---|---|")
    for name, neighbours in along.items():
        differing = separated = 0
        for a, b in neighbours:
            if a not in place or b not in place:
                continue
            i, j = sorted((place[a], place[b]))
            difference = pairs.upper[i][j - i - 1].difference
            half = difference.half()
            apart = half is not None and abs(difference.value) > half
            if abs(difference.value) > args.least:
                differing, separated = differing + 1, separated + apart
            number = f"{difference.value:+.3f} ± {difference.error or float('nan'):.3f}"
            print(f"| {name} | {', '.join(a)} - {', '.join(b)} | {number} | {'yes' if apart else 'no'} |")
        print(f"| {name} | more than {args.least:g} apart | {differing} | {separated} |")


if __name__ == "__main__":
    main()
