"""The metrics that there can be of any images, by what is here; nothing is downloaded for them."""

from pathlib import Path

import torch

from diffexp.data.dataset import DataSet, SplitName
from diffexp.hub import at, is_file
from diffexp.metrics import reference as real
from diffexp.metrics.fid import FID
from diffexp.metrics.inception import FILE, Inception
from diffexp.metrics.kid import KID
from diffexp.metrics.metric_set import MetricSet
from diffexp.notice import chosen

FEW = 10  # real images, below which there is nothing to compare with
FEATURE = 768


class WhatCanBeMeasured(MetricSet):
    """KID by 768 features of the Inception, and FID where n and the real images are more than these; nothing
    where the weights of the Inception are not here, or the training images are fewer than ten.

    n: images to generate, where something is measured. weights: their file; by default in torch.hub's cache.
    cache: folder of what is known of the real images, or null for none.
    """

    def __init__(self, n: int = 256, weights: str | None = None, cache: str | None = real.CACHE) -> None:
        super().__init__(n)
        self.asked, self.weights, self.cache = n, weights, cache
        self.reference: SplitName = "train"

    def compare_with(self, split: SplitName | None) -> None:
        self.reference = split or "train"

    def check(self, data: DataSet) -> None:
        """Choose, and say what. Raises ConfigError, DataError, for weights that are no Inception's."""
        count = len(data.split(self.reference))
        file = at(self.weights) if self.weights else Path(torch.hub.get_dir(), "checkpoints", FILE)
        if count < FEW:
            name = {"train": "training", "val": "validation"}.get(self.reference, "test")
            self._nothing(f"{count} {name} images are too few to compare with")
        elif not is_file(file):
            self._nothing(f"no weights of the Inception at {file}; metrics=inception768 fetches them")
        elif self.extractor is None:
            self.n, self.extractor = self.asked, Inception(FEATURE, self.weights)
            enough = min(self.n, count) > FEATURE
            kid, fid = (kind(self.reference, cache=self.cache) for kind in (KID, FID))
            self.metrics = [kid, *([fid] if enough else [])]
            names = " and ".join(type(metric).__name__ for metric in self.metrics)
            chosen(f"{names} of {self.n} images by {FEATURE} features of the Inception (metrics=auto)")
        super().check(data)

    def _nothing(self, why: str) -> None:
        self.n, self.extractor, self.metrics = 0, None, []
        chosen(f"no metric of the samples: {why}")
