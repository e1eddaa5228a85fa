"""Which difference of FID is found, with how many images, in 80 % of simulated pairs?

    python benchmarks/power.py

Two sets of N images of 16 normal features: in law the first has FID 0.64 to the reference, and the second
0.64 + δ, by another mean. Their noise correlates by r: 0 for other noise, or for other models; 0.99 for two
numbers of steps of an ODE. A pair is separated where p < 0.05, by the jackknife and Student's t, as the only
comparison of task=compare. Prints for each δ and r the least N of a grid at which 80 % of the pairs are, and
for δ = 0 the share that is separated all the same at N = 1000, which should be 5 %.
"""

import argparse
import math

import torch
from torch import Tensor

from diffexp.comparison import Evidence, of_evaluations
from diffexp.comparison.difference import Number

DIM, PARTS, FIRST = 16, 10, 0.64
SIZES = (100, 200, 500, 1000, 2000, 5000, 10_000, 20_000)
DIFFERENCES, SHARED = (0.02, 0.05, 0.1, 0.2, 0.5), (0.0, 0.9, 0.99)
PAIRING = {"noise": {"seed": 0}, "asked": "", "n": 0}


def fids(x: Tensor) -> Tensor:
    """Return the FID of features (N, dim) to N(0, 1) each: of all, then without each part, (1 + parts,)."""
    parts = x.view(-1, PARTS, DIM).transpose(0, 1)
    n, total, outer = parts.shape[1], parts.sum(1), parts.transpose(1, 2) @ parts
    counts = torch.tensor([n * PARTS, *[n * (PARTS - 1)] * PARTS], dtype=x.dtype).view(-1, 1)
    totals = torch.cat([total.sum(0, keepdim=True), total.sum(0) - total])
    outers = torch.cat([outer.sum(0, keepdim=True), outer.sum(0) - outer])
    mean = totals / counts
    products = mean[:, :, None] * mean[:, None, :]
    covariance = (outers - counts[:, :, None] * products) / (counts[:, :, None] - 1)
    deviations = torch.linalg.eigvalsh(covariance).clamp(min=0).sqrt()
    return mean.square().sum(1) + (deviations - 1).square().sum(1)


def measured(x: Tensor) -> Number:
    """Return FID with what an evaluation keeps of it."""
    value, *without = fids(x).tolist()
    kept = {"fid/without": torch.tensor(without, dtype=torch.float64).numpy()}
    return Number("fid", value, len(x), 1.0, Evidence(kept, PAIRING))


def separated(n: int, delta: float, shared: float, pairs: int) -> float:
    """Return the share of the pairs that are."""
    draw, found = torch.Generator().manual_seed(1), 0
    one, two = (math.sqrt(fid / DIM) for fid in (FIRST, FIRST + delta))
    for _ in range(pairs):
        x, z = torch.randn(2, n, DIM, generator=draw, dtype=torch.float64)
        y = shared * x + math.sqrt(1 - shared**2) * z
        p = of_evaluations(measured(y + two), measured(x + one)).p
        assert p is not None
        found += p < 0.05
    return found / pairs


def main() -> None:
    parser = argparse.ArgumentParser(description="How many images find which difference of FID.")
    parser.add_argument("--pairs", type=int, default=200)
    pairs = parser.parse_args().pairs
    print("| difference | " + " | ".join(f"r = {r:g}" for r in SHARED) + " |\n|---|" + "---|" * len(SHARED))
    nulls = [f"{separated(1000, 0, r, 5 * pairs):.1%} of N = 1000" for r in SHARED]
    print(f"| 0 | {' | '.join(nulls)} |", flush=True)
    for delta in DIFFERENCES:
        enough = (next((n for n in SIZES if separated(n, delta, r, pairs) >= 0.8), None) for r in SHARED)
        texts = [f"more than {SIZES[-1]:,}" if n is None else f"{n:,}" for n in enough]
        print(f"| {delta:g} | {' | '.join(texts)} |", flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
