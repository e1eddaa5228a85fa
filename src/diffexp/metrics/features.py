"""Features kept one by one, for metrics that compare images with images."""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.distributed as dist
from torch import Tensor

from diffexp.data.batch import Batch
from diffexp.data.dataset import DataSet, SplitName
from diffexp.errors import ConfigError
from diffexp.metrics import reference as real
from diffexp.metrics.extractor import Extractor, extract
from diffexp.metrics.metric import Card


class Bank:
    """A metric of the features of real and generated images.

    reference: the split of real images, of which at most `most` random ones are kept. cache: folder of their
    features, or null for none.
    """

    name: str

    def __init__(
        self,
        reference: Literal["train", "val", "test"] = "train",
        most: int = 10_000,
        cache: str | None = real.CACHE,
    ) -> None:
        if most < 10:
            raise ConfigError(f"most={most}", "metrics", "give 10 or more real images")
        self.reference: Literal["train", "val", "test"] = reference
        self.most, self.cache = most, cache
        self._card: Card = {}

    def check(self, data: DataSet, extractor: Extractor | None) -> None:
        """Raise ConfigError without an extractor, or with a reference of fewer than 10 images."""
        if extractor is None:
            do = "type metrics=digits or metrics=inception"
            raise ConfigError(f"{self.name} needs an extractor", "metrics.extractor", do)
        count = len(data.split(self.reference))
        if count < 10:
            what = f"the {self.reference} split of {data.name} has {count} images: too few for {self.name}"
            raise ConfigError(what, "metrics", "type metrics=none, or take another reference")

    def prepare(self, data: DataSet, extractor: Extractor | None, n: int) -> None:
        """Get the features of real images, from the cache or by extraction."""
        assert extractor is not None
        self._chosen, self._real = features_of(data, self.reference, extractor, self.most, self.cache)
        self._card = {
            "extractor": extractor.name,
            "sha256": extractor.sha256[:12],
            "dim": extractor.dim,
            "n": 0,
            "n_reference": len(self._chosen),
            "data": data.name,
            "split": self.reference,
            "fingerprint": data.fingerprint(self.reference)[:12],
        }
        self.reset()

    def update(self, batch: Batch, features: Tensor | None) -> None:
        """Keep the features (B, dim) of generated images."""
        assert features is not None
        self._generated.append(features.float().cpu())
        self._numbers.append(batch.index.cpu())

    def compute(self) -> dict[str, float]:
        """Return the numbers, over all ranks. Raises ConfigError for too few images."""
        numbers, features = gathered(self._numbers), gathered(self._generated)
        features = features[numbers.flatten().argsort(stable=True)]
        self._card["n"] = len(features)
        if len(features) < 10:
            what = f"{self.name} needs at least 10 generated images, not {len(features)}"
            raise ConfigError(what, "metrics.n", "type metrics.n=1000")
        self.errors: dict[str, float] = {}
        self.each: dict[str, Tensor] = {}
        values, of = self.of(self._real, features), self._card["extractor"]
        self._card["standard_errors"] = {f"{key}_{of}": value for key, value in self.errors.items()}
        return {f"{key}_{of}": value for key, value in values.items()}

    def of(self, real_features: Tensor, generated: Tensor) -> dict[str, float]:
        """Return the numbers of two sets of features, (N, dim) and (M, dim) float32; `errors`: of those whose
        standard error is known; `each`: what each generated image adds, (M,), to those that are means, or
        nearly, of such.
        """
        raise NotImplementedError

    def evidence(self) -> dict[str, Tensor]:
        """Return what each image adds, for comparisons."""
        of = self._card["extractor"]
        return {f"{key}_{of}/each": values.double().cpu() for key, values in self.each.items()}

    def card(self) -> Card:
        """Return extractor, weights, numbers of images and the options."""
        return dict(self._card)

    def reset(self) -> None:
        self._generated, self._numbers = list[Tensor](), list[Tensor]()
        self.each = {}


def features_of(
    data: DataSet, split: SplitName, extractor: Extractor, most: int, cache: str | None
) -> tuple[Tensor, Tensor]:
    """Return the numbers of at most `most` random images of a split, the same ones each time, and their
    features (N, dim), from the cache or by extraction.
    """
    images = data.split(split)
    count = min(most, len(images))
    chosen = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))[:count].sort().values

    def make() -> dict[str, Tensor]:
        parts = (extract(extractor, images.batch(i).image).cpu() for i in chosen.split(real.BATCH))
        return {"features": torch.cat(list(parts))}

    key = real.key(data, split, extractor, "features", count)
    return chosen, real.cached(cache, key, make)["features"]


def gathered(parts: Sequence[Tensor]) -> Tensor:
    """Return the features of all ranks, those of rank 0 first. A collective call."""
    mine = torch.cat(list(parts)) if parts else torch.empty(0, 1)
    if not (dist.is_available() and dist.is_initialized()):
        return mine
    ranks: list[Tensor | None] = [None] * dist.get_world_size()
    dist.all_gather_object(ranks, mine)
    return torch.cat([f for f in ranks if f is not None and len(f)])
