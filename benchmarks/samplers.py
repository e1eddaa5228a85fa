"""What a network call buys: the error of the ODE samplers on a mixture of Gaussians, whose flow is known.

    python benchmarks/samplers.py [--calls 5 10 20] [--spacings trailing logsnr sqrt_t] [--out FOLDER]

Data .3 N(−1, .25²) + .7 N(.6, .15²), linear schedule, T = 1000, 2,000 starting points. The reference is the
probability flow solved by DOP853 to a relative error of 1e-11; figures are the root mean square and the
median of the difference of the images. Each sampler makes exactly that many calls, or is left out there.
"""

import argparse
import csv
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from scipy.integrate import solve_ivp
from torch import Tensor

from diffexp.diffusion import Prediction, linear
from diffexp.errors import ConfigError
from diffexp.report.curves import Line, curves
from diffexp.report.page import document
from diffexp.samplers import (
    DDIM,
    PNDM,
    Adams,
    DPMSolver,
    DPMSolverPP,
    GridSampler,
    Heun,
    Midpoint,
    UniPC,
    with_calls,
)

SCHEDULE = linear()
SHARE = torch.tensor([0.3, 0.7], dtype=torch.float64)
MEAN = torch.tensor([-1.0, 0.6], dtype=torch.float64)
STD = torch.tensor([0.25, 0.15], dtype=torch.float64)
SAMPLERS: dict[str, GridSampler] = {
    "DDIM": DDIM(),
    "Heun": Heun(),
    "midpoint (DPM-2)": Midpoint(),
    "DPM-Solver-3": DPMSolver(),
    "DPM-Solver++(2S)": DPMSolver(order=2, hold="x0"),
    "DPM-Solver++(2M)": DPMSolverPP(order=2),
    "DPM-Solver++(3M)": DPMSolverPP(order=3),
    "UniPC-2": UniPC(order=2),
    "UniPC-3 bh1": UniPC(order=3, form="bh1"),
    "iPNDM-4": PNDM(),
    "LMS-4": Adams(order=4, hold="eps", of="ratio"),
    "tAB-DEIS-3": Adams(order=3, hold="eps", of="t"),
    "Adams-2": Adams(order=2),
    "Adams-3": Adams(order=3),
    "Adams-2, corrected": Adams(order=2, corrector=True),
    "Adams-3, corrected": Adams(order=3, corrector=True),
    "iPNDM-3": PNDM(order=3),
    "LMS-4, corrected": Adams(order=4, hold="eps", of="ratio", corrector=True),
    "tAB-DEIS-3, corrected": Adams(order=3, hold="eps", of="t", corrector=True),
    "tAB-DEIS-4, corrected": Adams(order=4, hold="eps", of="t", corrector=True),
}


def expectation(x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """E[x0 | x_t = x]."""
    var = alpha**2 * STD**2 + sigma**2
    log_weight = SHARE.log() - 0.5 * var.log() - (x[..., None] - alpha * MEAN) ** 2 / (2 * var)
    each = MEAN + alpha * STD**2 / var * (x[..., None] - alpha * MEAN)
    return (log_weight.softmax(-1) * each).sum(-1)


def denoise(x: Tensor, t: Tensor, cond: Tensor | None = None) -> Prediction:
    """The optimal denoiser."""
    level = SCHEDULE(t)
    x0 = expectation(x, level.alpha, level.sigma)
    return Prediction(x0, x, level)


def reference(x: Tensor) -> Tensor:
    """The flow dx̄/dρ = ε, x̄ = x/α, ρ = σ/α, from t = 1 to 0."""
    end = SCHEDULE(torch.ones((), dtype=torch.float64))

    def slope(s: float, y: list[float]) -> Tensor:
        # in s = log ρ: dx̄/ds = ρ ε = x̄ − x0
        rho = torch.tensor(s, dtype=torch.float64).exp()
        alpha = (1 + rho**2).rsqrt()
        bar = torch.as_tensor(y)
        return bar - expectation(alpha * bar, alpha, alpha * rho)

    start, stop = float(end.ratio.log()), -14.0
    told = solve_ivp(slope, (start, stop), (x / end.alpha).numpy(), method="DOP853", rtol=1e-11, atol=1e-12)
    return torch.from_numpy(told.y[:, -1])


def measure(calls: Sequence[int], spacings: Sequence[str]) -> Iterator[tuple[str, str, int, float, float]]:
    """(spacing, sampler, calls, root mean square error, median error) of each that makes that many calls."""
    x = torch.randn(2000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    want = reference(x)
    for spacing in spacings:
        for name, sampler in SAMPLERS.items():
            for n in calls:
                try:
                    made = with_calls(replace(sampler, spacing=spacing), n, SCHEDULE)
                except ConfigError:
                    continue
                if len(made.calls(SCHEDULE)) < n:
                    continue
                error = (made.sample(denoise, SCHEDULE, lambda k: x) - want).abs()
                yield spacing, name, n, float(error.square().mean().sqrt()), float(error.median())


def markdown(found: Sequence[tuple[str, str, int, float, float]], calls: Sequence[int]) -> str:
    """A table for each spacing, and the best of all: root mean square, median."""
    parts, table = list[str](), {(s, m, n): f"{rms:.2g}, {med:.2g}" for s, m, n, rms, med in found}
    for spacing in dict.fromkeys(row[0] for row in found):
        parts.append(f"\n{spacing}\n\n| sampler | " + " | ".join(f"{n} calls" for n in calls) + " |")
        parts.append("|---|" + "---|" * len(calls))
        for name in SAMPLERS:
            parts.append(f"| {name} | " + " | ".join(table.get((spacing, name, n), "") for n in calls) + " |")
    parts.append("\nbest\n\n| calls | error | by |\n|---|---|---|")
    for n in calls:
        rms, name, spacing = min((row[3], row[1], row[0]) for row in found if row[2] == n)
        parts.append(f"| {n} | {rms:.2g} | {name} on {spacing} |")
    return "\n".join(parts) + "\n"


def picture(found: Sequence[tuple[str, str, int, float, float]]) -> str:
    """A page of curves: for each spacing, and for each sampler on its best spacing."""
    figures = list[str]()
    for spacing in dict.fromkeys(row[0] for row in found):
        lines = [
            Line(name, [(n, [rms]) for s, m, n, rms, _ in found if (s, m) == (spacing, name)])
            for name in SAMPLERS
        ]
        figures.append(curves(f"root mean square error, {spacing}", [line for line in lines if line.points]))
    return document("samplers", {}, figures)


def main() -> None:
    """Prints the tables; with --out also writes them, a CSV and a page of curves."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--calls", type=int, nargs="+", default=[5, 10, 20, 40, 100, 200])
    parser.add_argument("--spacings", nargs="+", default=["trailing", "logsnr", "sqrt_t", "karras", "soft"])
    parser.add_argument("--out", type=Path, help="a folder for samplers.md, samplers.csv and samplers.html")
    args = parser.parse_args()
    found = list(measure(args.calls, args.spacings))
    print(markdown(found, args.calls))
    if args.out is not None:
        args.out.mkdir(parents=True, exist_ok=True)
        (args.out / "samplers.md").write_text(markdown(found, args.calls))
        (args.out / "samplers.html").write_text(picture(found))
        with (args.out / "samplers.csv").open("w", newline="") as file:
            csv.writer(file).writerows([("spacing", "sampler", "calls", "rms", "median"), *found])


if __name__ == "__main__":
    main()
