"""Mean and covariance of features, and the distance of two Gaussians that have them.

    d² = |m₁ − m₂|² + tr C₁ + tr C₂ − 2 tr (C₁C₂)^½            (Fréchet 1957; FID: Heusel et al. 2017)

With C = L Lᵀ the last trace is the sum of the singular values of L₁ᵀL₂: no root of an unsymmetric matrix, so
no complex numbers, and at 2,048 features a ninth of the time that its eigenvalues take.
"""

import torch
from torch import Tensor

from diffexp.errors import DataError
from diffexp.metrics.distributed import summed


class Statistics:
    """n, Σx and Σxxᵀ in float64 of features x of `dim` numbers; sums, so parts add, subtract and reduce."""

    def __init__(self, dim: int, device: torch.device | str = "cpu") -> None:
        self.n = torch.zeros((), dtype=torch.float64, device=device)
        self.total = torch.zeros(dim, dtype=torch.float64, device=device)
        self.outer = torch.zeros(dim, dim, dtype=torch.float64, device=device)

    def update(self, features: Tensor) -> None:
        """Take in features (B, dim). Raises DataError when one is not finite."""
        bad = int((~features.isfinite()).any(1).sum())
        if bad:
            what = f"the features of {bad} of {len(features)} images are not finite"
            raise DataError(
                what, "metrics.extractor", "check its weights file, or type another metrics.extractor.feature"
            )
        x = features.to(self.total.device, torch.float64)
        self.n += len(x)
        self.total += x.sum(0)
        self.outer += x.T @ x

    @property
    def mean(self) -> Tensor:
        """The mean, (dim,)."""
        return self.total / self.n

    @property
    def covariance(self) -> Tensor:
        """The covariance (dim, dim), unbiased: divided by n − 1."""
        return (self.outer - torch.outer(self.total, self.mean)) / (self.n - 1)

    def tensors(self) -> dict[str, Tensor]:
        """Return the sums by name, for a file."""
        return {"n": self.n, "total": self.total, "outer": self.outer}

    @classmethod
    def of(cls, n: Tensor, total: Tensor, outer: Tensor) -> "Statistics":
        """Make statistics of the sums that `tensors` returns."""
        out = cls(len(total), total.device)
        out.n, out.total, out.outer = n, total, outer
        return out

    def __add__(self, other: "Statistics") -> "Statistics":
        return Statistics.of(self.n + other.n, self.total + other.total, self.outer + other.outer)

    def __sub__(self, other: "Statistics") -> "Statistics":
        return Statistics.of(self.n - other.n, self.total - other.total, self.outer - other.outer)

    def over_ranks(self) -> "Statistics":
        """Return the statistics of all ranks' features: a collective call."""
        return Statistics.of(*summed(self.n, self.total, self.outer))


def frechet_distance(a: Statistics, b: Statistics) -> float:
    """Return d² of the Gaussians with these means and covariances, never below 0. Both need n >= 2.

    Raises DataError where those are not finite.
    """
    for name, part in (("first", a), ("second", b)):
        if not (part.mean.isfinite().all() and part.covariance.isfinite().all()):
            what = f"the {name} mean and covariance of {float(part.n):g} images are not finite"
            raise DataError(what, "metrics", "give finite statistics, and metrics.n=1000")
    roots = _root(a).T @ _root(b)
    cross = torch.linalg.svdvals(roots).sum() if roots.numel() else roots.sum()
    spread = a.covariance.trace() + b.covariance.trace()
    # in this order NaN stays NaN: max(0.0, nan) is 0.0, a perfect score
    return max(float((a.mean - b.mean).square().sum() + spread - 2 * cross), 0.0)


def _root(s: Statistics) -> Tensor:
    """Return L (dim, rank) with L Lᵀ = the covariance."""
    c = s.covariance
    if s.n > len(c):
        lower, info = torch.linalg.cholesky_ex(c)
        pivots = lower.diagonal()
        if info == 0 and pivots.min() > 1e-6 * pivots.max():
            return lower
    # singular: what is left of its null space is rounding, of which the square root would be 1e-8, not 1e-16
    values, vectors = torch.linalg.eigh(c)
    keep = values > values[-1] * len(c) * torch.finfo(c.dtype).eps
    return vectors[:, keep] * values[keep].sqrt()
