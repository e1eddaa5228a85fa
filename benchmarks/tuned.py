"""Can a grid be tuned, so that sampler=ipndm_3 makes a smaller error than on times even in t^0.3?

    python benchmarks/tuned.py --calls 7 8 --seen 2
    python benchmarks/tuned.py --calls 7 8 --seen 5

Differential evolution over the times, on flows that are known; what is made small is the largest ratio of the
error to that on the even grid, over the first targets. Printed is how many times smaller the error is on each
target, those that the search has seen first.
"""

import argparse
import math
from dataclasses import replace

import torch
from recommended import SCHEDULE, denoiser
from scipy.optimize import differential_evolution
from torch import Tensor

from diffexp.samplers import PNDM, Adams


def ring(count: int, std: float) -> tuple[Tensor, Tensor]:
    angle = 2 * math.pi * torch.arange(count).double() / count
    return torch.stack([angle.cos(), angle.sin()], 1), torch.full((count, 2), std).double()


def gaussian(dim: int, high: float, low: float) -> tuple[Tensor, Tensor]:
    return torch.zeros(1, dim).double(), torch.logspace(high, low, dim).double()[None]


def scattered(count: int, dim: int, std: float) -> tuple[Tensor, Tensor]:
    means = torch.randn(count, dim, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    return means, torch.full((count, dim), std).double()


MIXTURE = (
    torch.tensor([[-1.0]] * 3 + [[0.6]] * 7).double(),
    torch.tensor([[0.25]] * 3 + [[0.15]] * 7).double(),
)
TARGETS = [  # the first two are those of recommended.py
    gaussian(64, 0, -2), ring(8, 0.1), MIXTURE, gaussian(64, -0.3, -1.5), scattered(6, 3, 0.05),
    gaussian(32, 0.2, -2.4), ring(5, 0.07), scattered(4, 8, 0.2),
]  # fmt: skip


class Target:
    """Trajectories, their ends, and the error of a sampler at them."""

    def __init__(self, means: Tensor, stds: Tensor, count: int = 128) -> None:
        self.denoise, draw = denoiser(means, stds), torch.Generator().manual_seed(2)
        self.x = torch.randn(count, means.shape[1], generator=draw, dtype=torch.float64)
        fine = Adams(order=4, of="t", corrector=True, spacing="sqrt_t", steps=1600)
        self.end = fine.sample(self.denoise, SCHEDULE, lambda k: self.x)

    def error(self, sampler: PNDM) -> float:
        got = sampler.sample(self.denoise, SCHEDULE, lambda k: self.x)
        return float((got - self.end).square().mean().sqrt())


def times(fractions: list[float]) -> list[float]:
    """Of the chain, from 1 down, each a fraction of the one before."""
    out = [1.0]
    for f in fractions:
        out.append(out[-1] * f)
    return out


def search(calls: int, seen: list[Target], iterations: int) -> list[float]:
    """The times at which the largest ratio is least."""
    even = PNDM(order=3, steps=calls, spacing="power")
    before = [target.error(even) for target in seen]

    def cost(fractions: list[float]) -> float:
        made = placed(times(fractions))
        if made is None:
            return 9.0
        return max(math.log(target.error(made) / e) for target, e in zip(seen, before, strict=True))

    start = even.grid(SCHEDULE)[:-1]
    found = differential_evolution(
        cost, [(0.05, 0.98)] * (calls - 1), x0=(start[1:] / start[:-1]).tolist(), maxiter=iterations,
        popsize=6, seed=0, tol=1e-7, polish=False,
    )  # fmt: skip
    return times(found.x)


def placed(at: list[float]) -> PNDM | None:
    spacing = tuple(1000 * float(t) for t in at)
    return replace(PNDM(order=3), steps=len(at), spacing=spacing) if spacing[-1] > 1e-3 else None


def main() -> None:
    parser = argparse.ArgumentParser(description="Tunes grids of sampler=ipndm_3 on a few targets.")
    parser.add_argument("--calls", type=int, nargs="+", default=[7, 8])
    parser.add_argument("--seen", type=int, default=2)
    parser.add_argument("--iterations", type=int, default=60)
    args = parser.parse_args()
    targets = [Target(*t) for t in TARGETS]
    for calls in args.calls:
        at = search(calls, targets[: args.seen], args.iterations)
        even, made = PNDM(order=3, steps=calls, spacing="power"), placed(at)
        assert made is not None
        ratios = [f"{t.error(even) / t.error(made):.2f}" for t in targets]
        seen, unseen = ratios[: args.seen], ratios[args.seen :]
        print(f"{calls} calls, t = {', '.join(f'{t:.4g}' for t in at)}")
        print(
            f"  times smaller: {' '.join(seen)} where it was tuned, {' '.join(unseen)} elsewhere", flush=True
        )


if __name__ == "__main__":
    main()
