"""What adapted runs forget while they learn: drift over fidelity, a line for each run.

    python benchmarks/forgetting.py RUN RUN [--fidelity right_concept] [--out FOLDER]

of runs, or sweeps of runs, that have measured both during training (evaluator.every=1 evaluator.drift=N).
Runs that differ in their seed alone are one line, their mean, with the spread as error bars.
"""

import argparse
import json
import statistics
from collections import defaultdict
from pathlib import Path

import yaml

from diffexp.report.curves import Line, curves
from diffexp.report.page import document

Points = dict[int, tuple[float, float]]
"""(fidelity, drift) by step."""


def measured(folder: Path, fidelity: str) -> Points:
    """Return what a run has measured during its training."""
    rows = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    keys = f"val/{fidelity}", "val/drift"
    return {row["step"]: (row[keys[0]], row[keys[1]]) for row in rows if all(key in row for key in keys)}


def name_of(folder: Path) -> str:
    """Return what was trained, without the seed: the words that its command line says of it."""
    typed = yaml.safe_load((folder / "overrides.yaml").read_text())
    said = [word for word in typed if word.startswith(("tune", "data.weights", "optimizer.lr"))]
    return " ".join(said) or folder.name


def line(name: str, runs: list[Points]) -> Line:
    """Return the mean of the runs at each step, at which all have measured."""
    points = list[tuple[float, list[float]]]()
    for step in sorted(set.intersection(*(set(run) for run in runs))):
        learned, gone = zip(*(run[step] for run in runs), strict=True)
        points.append((statistics.mean(learned), list(gone)))
    return Line(name, points)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--fidelity", default="right_concept")
    parser.add_argument("--out", type=Path, default=Path("build/forgetting"))
    args = parser.parse_args()
    folders = [f for run in args.runs for f in (sorted((run / "jobs").glob("*")) or [run])]
    runs = defaultdict[str, list[Points]](list)
    for folder in folders:
        runs[name_of(folder)].append(measured(folder, args.fidelity))
    lines = [line(name, parts) for name, parts in runs.items()]
    print(f"| run | {args.fidelity}, drift at each measurement |\n|---|---|")
    for each in lines:
        cells = "; ".join(f"{x:.3f}, {statistics.mean(y):.3f}" for x, y in each.points)
        print(f"| {each.name} | {cells} |")
    figure = curves("drift", lines, f"{args.fidelity}, as the training goes on")
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "forgetting.html").write_text(document("What is forgotten", {}, [figure]))
    print(args.out / "forgetting.html")


if __name__ == "__main__":
    main()
