"""What runs have reached after equal time: a metric of their evaluations over seconds of training.

    python benchmarks/equal_time.py RUN RUN [--metric fid_fashion64] [--out FOLDER]

For runs that were trained on a busy machine, or one after the other: seconds are their steps times what a
step of their network takes here, measured in turns, in time of the process. A run in latents has its ceiling,
what the images of its autoencoder reach, drawn in.
"""

import argparse
import json
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from diffexp.condition import Condition
from diffexp.model.restore import Restored, restore
from diffexp.report.curves import Line, curves
from diffexp.report.page import document


def step_of(run: Restored) -> tuple[nn.Module, torch.optim.Optimizer, Tensor, Tensor, Condition | None]:
    """Return what a step of training needs: the network, its optimizer, and a batch for it."""
    network = run.model.denoiser.network.train().requires_grad_(True)
    n = int(run.config["loader"]["batch_size"])
    names = run.model.class_names
    told = "label" in run.model.conditioning.asks and names is not None
    condition = Condition(label=torch.arange(n) % len(names or ())) if told else None
    optimizer = torch.optim.AdamW(network.parameters(), 1e-6)
    return network, optimizer, torch.randn(n, *run.model.latent_shape), torch.rand(n), condition


def seconds(runs: Sequence[Restored], rounds: int) -> list[float]:
    """Return the median seconds of a step of each, measured in turns."""
    steps, times = [step_of(run) for run in runs], [list[float]() for _ in runs]
    for _ in range(rounds + 1):
        for (network, optimizer, x, t, condition), taken in zip(steps, times, strict=True):
            begun = time.process_time()
            network(x, t, condition).square().mean().backward()
            optimizer.step()
            optimizer.zero_grad()
            taken.append(time.process_time() - begun)
    return [statistics.median(taken[1:]) for taken in times]  # the first is a warm-up


def reached(folder: Path, metric: str) -> list[tuple[int, float]]:
    """Return (step, value) of the evaluations during a training."""
    rows = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [(row["step"] + 1, row[f"val/{metric}"]) for row in rows if f"val/{metric}" in row]


def ceiling(run: Restored, metric: str) -> float | None:
    """Return what the reconstructions of its autoencoder reach, where it has one."""
    place = run.config["model"]["codec"].get("ckpt")
    if place is None:
        return None
    return json.loads((Path(place) / "run.json").read_text())["results"].get(f"r{metric}")


def main() -> None:
    """Prints a table and writes the curves."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--metric", default="fid_fashion64")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--out", type=Path, default=Path("build/equal_time"))
    given = parser.parse_args()
    runs = [restore(folder, None) for folder in given.runs]
    each, lines, best = seconds(runs, given.rounds), list[Line](), list[tuple[str, float]]()
    print(f"| run | seconds of a step | step | seconds | {given.metric} |\n|---|---|---|---|---|")
    for folder, run, cost in zip(given.runs, runs, each, strict=True):
        points = reached(folder, given.metric)
        for step, value in points:
            print(f"| {folder.name} | {cost:.3f} | {step} | {step * cost:.0f} | {value:.2f} |")
        lines.append(Line(folder.name, [(step * cost, [value]) for step, value in points]))
        if (value := ceiling(run, given.metric)) is not None:
            best.append((folder.name, value))
    places = [x for line in lines for x, _ in line.points]
    for name, value in best:
        print(f"| ceiling of {name} | | | | {value:.2f} |")
        lines.append(Line(f"ceiling of {name}", [(min(places), [value]), (max(places), [value])]))
    given.out.mkdir(parents=True, exist_ok=True)
    figure = curves(given.metric, lines, "seconds of training, on one core")
    (given.out / "equal_time.html").write_text(document("equal time", {}, [figure]))
    print(given.out / "equal_time.html")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
