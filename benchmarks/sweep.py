"""What a sweep costs beside its work: the time of a sweep of evaluations over that of its sampling, features
and metrics.

    python benchmarks/sweep.py RUN --cells 20 --images 1000
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RUN = Path(__file__).parents[1] / "run.py"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("ckpt", help="a run folder, or a checkpoint")
    parser.add_argument("--cells", type=int, default=20)
    parser.add_argument("--images", type=int, default=1000)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        typed = [
            "-m", "task=evaluate", f"task.ckpt={Path(args.ckpt).resolve()}", f"metrics.n={args.images}",
            f"seed=range({args.cells})", "logger=none", f"hydra.sweep.dir={folder}",
        ]  # fmt: skip
        start = time.perf_counter()
        subprocess.run([sys.executable, str(RUN), *typed], check=True, stdout=subprocess.DEVNULL)
        whole = time.perf_counter() - start
        rows = [json.loads(line) for line in Path(folder, "results.jsonl").read_text().splitlines()]
    work = sum(row["results"]["sampling_seconds"] for row in rows)
    print("| cells | images each | sampling, features, metrics, s | whole command, s | ratio |")
    print("|---|---|---|---|---|")
    print(f"| {len(rows)} | {args.images} | {work:.1f} | {whole:.1f} | {whole / work:.3f} |")


if __name__ == "__main__":
    main()
