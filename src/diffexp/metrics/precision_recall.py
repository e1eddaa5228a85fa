"""Precision, recall, density, coverage: how the features of real and generated images lie among each other.

A ball about each image reaches to its k-th neighbour among its own kind. Precision is the share of generated
images in balls of real ones, recall the share of real images in balls of generated ones (Kynkäänniemi et al.
2019); density counts how many balls of real images a generated one is in, over k; coverage is the share of
real balls with a generated image in them (Naeem et al. 2020).
"""

from typing import Literal

import torch
from torch import Tensor

from diffexp.errors import ConfigError, check_at_most
from diffexp.metrics import reference as real
from diffexp.metrics.features import Bank
from diffexp.metrics.metric import Card

_ROWS = 2048  # of a matrix of distances at a time


class Manifold(Bank):
    """Keys precision_, recall_, density_ and coverage_<extractor>; k: of the neighbours.

    Standard errors are those of a mean over images, as if the balls were given.
    """

    name = "precision and recall"

    def __init__(
        self,
        reference: Literal["train", "val", "test"] = "train",
        k: int = 3,
        most: int = 10_000,
        cache: str | None = real.CACHE,
    ) -> None:
        super().__init__(reference, most, cache)
        if k < 1:
            raise ConfigError(f"k={k}", "metrics", "give 1 or more neighbours")
        check_at_most(1000, "metrics", k=k)
        self.k = k

    def of(self, real_features: Tensor, generated: Tensor) -> dict[str, float]:
        reach, own = radii(real_features, self.k), radii(generated, self.k)
        inside, covered = torch.zeros(len(generated)), torch.zeros(len(real_features), dtype=torch.bool)
        recalled = torch.zeros(len(real_features), dtype=torch.bool)
        for i in range(0, len(real_features), _ROWS):
            rows = slice(i, i + _ROWS)
            far = torch.cdist(real_features[rows], generated)
            within = far <= reach[rows, None]
            inside += within.sum(0)
            covered[rows] = within.any(1)
            recalled[rows] = (far <= own).any(1)
        each = {
            "precision": (inside > 0).double(),
            "recall": recalled.double(),
            "density": inside.double() / self.k,
            "coverage": covered.double(),
        }
        self.errors = {key: float(values.std()) / len(values) ** 0.5 for key, values in each.items()}
        self.each = {key: each[key] for key in ("precision", "density")}  # the others are of real images
        return {key: float(values.mean()) for key, values in each.items()}

    def card(self) -> Card:
        return super().card() | {"k": self.k}


def radii(features: Tensor, k: int) -> Tensor:
    """Return the distance of each to its k-th neighbour, (N,)."""
    parts = (torch.cdist(rows, features).kthvalue(k + 1).values for rows in features.split(_ROWS))
    return torch.cat(list(parts))
