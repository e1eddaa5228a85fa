"""What a network call buys: the error of the ODE samplers on a mixture of Gaussians, whose flow is known.

    python benchmarks/samplers.py [--calls 5 10 20 40 100 200] [--spacings trailing logsnr sqrt_t karras soft]

Data .3 N(−1, .25²) + .7 N(.6, .15²), linear schedule, T = 1000, 2,000 starting points. The reference is the
probability flow solved by DOP853 to a relative error of 1e-11; a figure is the root mean square of the
difference of the images. Each sampler makes exactly that many calls, or is left out there.
"""

import argparse
from dataclasses import replace

import torch
from scipy.integrate import solve_ivp
from torch import Tensor

from diffexp.diffusion import Prediction, linear
from diffexp.errors import ConfigError
from diffexp.samplers import DDIM, PNDM, Adams, DPMSolver, DPMSolverPP, GridSampler, Heun, Midpoint, UniPC

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


def with_calls(sampler: GridSampler, calls: int) -> GridSampler | None:
    """The sampler with as many steps as make that many calls."""
    for steps in range(2, calls + 1):
        try:
            made = replace(sampler, steps=steps)
            if len(made.calls(SCHEDULE)) == calls:
                return made
        except ConfigError:
            continue
    return None


def main() -> None:
    """Prints a table for each grid, in Markdown."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--calls", type=int, nargs="+", default=[5, 10, 20, 40, 100, 200])
    parser.add_argument("--spacings", nargs="+", default=["trailing", "logsnr", "sqrt_t", "karras", "soft"])
    args = parser.parse_args()
    x = torch.randn(2000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    want = reference(x)
    best = dict.fromkeys(args.calls, (float("inf"), ""))
    for spacing in args.spacings:
        print(f"\n{spacing}\n\n| sampler | " + " | ".join(f"{n} calls" for n in args.calls) + " |")
        print("|---|" + "---|" * len(args.calls))
        for name, sampler in SAMPLERS.items():
            row = []
            for n in args.calls:
                made = with_calls(replace(sampler, spacing=spacing), n)
                if made is None:
                    row.append("")
                    continue
                got = made.sample(denoise, SCHEDULE, lambda k: x)
                error = float((got - want).square().mean().sqrt())
                best[n] = min(best[n], (error, f"{name} on {spacing}"))
                row.append(f"{error:.2g}")
            print(f"| {name} | " + " | ".join(row) + " |", flush=True)
    print("\nbest: " + "; ".join(f"{n} calls {error:.2g}, {name}" for n, (error, name) in best.items()))


if __name__ == "__main__":
    main()
