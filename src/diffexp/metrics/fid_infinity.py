"""FID without the bias of a finite number of images (Chong & Forsyth 2020), and how sure a FID is.

FID of N generated images goes about as a + b/N: a line through FIDs of random subsets meets 1/N = 0 at a.
"""

from typing import Literal

import torch
from torch import Tensor

from diffexp.errors import ConfigError, check_at_most
from diffexp.metrics import reference as real
from diffexp.metrics.features import Bank
from diffexp.metrics.statistics import Statistics, frechet_distance


class FIDInfinity(Bank):
    """Keys fid_inf_<extractor>, the FID at 1/N = 0, and fid_std_<extractor>, the standard deviation of FID at
    N images: that over `halves` random halves of them, whose difference from the whole has the same
    variance (the delete-half jackknife; a bootstrap's repeated images would raise the FID).

    points: sizes of subsets, from half of N to N. most: of the real images that are looked at.
    """

    name = "FID at infinity"

    def __init__(
        self,
        reference: Literal["train", "val", "test"] = "train",
        points: int = 8,
        halves: int = 10,
        most: int = 100_000,
        cache: str | None = real.CACHE,
    ) -> None:
        super().__init__(reference, most, cache)
        if points < 2 or halves < 2:
            raise ConfigError(f"points={points}, halves={halves}", "metrics", "give 2 or more of each")
        check_at_most(1000, "metrics", points=points, halves=halves)
        self.points, self.halves = points, halves

    def of(self, real_features: Tensor, generated: Tensor) -> dict[str, float]:
        want, n = _statistics(real_features), len(generated)
        draw = torch.Generator().manual_seed(0)
        sizes = torch.linspace(n / 2, n, self.points).round().int().tolist()
        fids = []
        for size in sizes:
            some = generated[torch.randperm(n, generator=draw)[:size]]
            fids.append(frechet_distance(want, _statistics(some)))
        x = torch.tensor([[1.0, 1 / size] for size in sizes], dtype=torch.float64)
        y = torch.tensor(fids, dtype=torch.float64)
        at_infinity = torch.linalg.lstsq(x, y[:, None]).solution[0]
        again = [
            frechet_distance(want, _statistics(generated[torch.randperm(n, generator=draw)[: n // 2]]))
            for _ in range(self.halves)
        ]
        return {"fid_inf": float(at_infinity), "fid_std": float(torch.tensor(again).std())}


def _statistics(features: Tensor) -> Statistics:
    made = Statistics(features.shape[1])
    made.update(features)
    return made
