"""What we recommend for 5 to 20 network calls, beside what is used today, where the flow is known.

    python benchmarks/recommended.py

Two targets, linear schedule, T = 1000: a Gaussian of 64 dimensions whose standard deviations go from 1 to
0.01, and a ring of eight Gaussians in the plane. A figure is the root mean square error of the end of 512
trajectories, against a solution of 1,600 steps. The others are the algorithms and grids of diffusers, in our
implementation (tests/peers show that they are the same, step by step).
"""

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from diffexp.diffusion import Prediction, linear
from diffexp.samplers import DDIM, PNDM, Adams, DPMSolverPP, GridSampler, Heun, UniPC, with_calls

SCHEDULE = linear()
RING = [(math.cos(i * math.pi / 4), math.sin(i * math.pi / 4)) for i in range(8)]
CALLS = (5, 6, 7, 8, 10, 15, 20)
TARGETS = {  # means (K, D), standard deviations (K, D)
    "Gaussian, 64 dimensions": (torch.zeros(1, 64).double(), torch.logspace(0, -2, 64).double()[None]),
    "ring of eight": (torch.tensor(RING).double(), torch.full((8, 2), 0.1).double()),
}
OTHERS: dict[str, GridSampler] = {
    "DDIM, trailing": DDIM(),
    "DDIM, linspace": DDIM(spacing="linspace"),
    "DPM-Solver++(2M), linspace": DPMSolverPP(spacing="linspace"),
    "DPM-Solver++(2M), trailing": DPMSolverPP(spacing="trailing"),
    "DPM-Solver++(2M), Lu's λ": DPMSolverPP(spacing="logsnr"),
    "DPM-Solver++(2M), Karras": DPMSolverPP(spacing="karras"),
    "UniPC-2, linspace": UniPC(spacing="linspace"),
    "UniPC-2, trailing": UniPC(spacing="trailing"),
    "UniPC-2, Karras": UniPC(spacing="karras"),
    "DEIS-2, linspace": Adams(order=2, hold="eps", of="lam", spacing="linspace"),
    "Heun, Karras": Heun(),
    "PLMS, leading": PNDM(start="heun", spacing="leading"),
}
OURS: dict[str, GridSampler] = {
    "ipndm_3": PNDM(order=3, spacing="power"),
}


def denoiser(means: Tensor, stds: Tensor) -> Callable[..., Prediction]:
    """The optimal one of Σ N(means, stds²)/K."""

    def denoise(x: Tensor, t: Tensor, cond: Tensor | None = None) -> Prediction:
        level = SCHEDULE(t)
        var = level.alpha**2 * stds**2 + level.sigma**2
        far = x[:, None] - level.alpha * means
        share = (-0.5 * (var.log() + far**2 / var).sum(-1)).softmax(1)
        each = means + level.alpha * stds**2 / var * far
        return Prediction((share[..., None] * each).sum(1), x, level)

    return denoise


def main() -> None:
    """Prints a table in Markdown, and how far each of ours is below the best of the others."""
    print("| sampler | " + " | ".join(f"{t}, {n}" for t in TARGETS for n in CALLS) + " |")
    print("|---|" + "---|" * 2 * len(CALLS))
    found: dict[str, list[float]] = {name: [] for name in (*OTHERS, *OURS)}
    for means, stds in TARGETS.values():
        denoise, draw = denoiser(means, stds), torch.Generator().manual_seed(1)
        x = torch.randn(512, means.shape[1], generator=draw, dtype=torch.float64)
        fine = Adams(order=4, of="t", corrector=True, spacing="sqrt_t", steps=1600)
        want = fine.sample(denoise, SCHEDULE, lambda k, x=x: x)
        for calls in CALLS:
            for name, sampler in (OTHERS | OURS).items():
                made = with_calls(replace(sampler), calls, SCHEDULE)
                got = made.sample(denoise, SCHEDULE, lambda k, x=x: x)
                found[name].append(float((got - want).square().mean().sqrt()))
    for name, errors in found.items():
        print(f"| {name} | " + " | ".join(f"{e:.2g}" for e in errors) + " |")
    for name in OURS:
        ratios = [min(found[o][i] for o in OTHERS) / found[name][i] for i in range(2 * len(CALLS))]
        print(f"| the best of the others / {name} | " + " | ".join(f"{r:.1f}" for r in ratios) + " |")


if __name__ == "__main__":
    main()
