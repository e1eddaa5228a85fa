"""How like the pictures of a thing the samples of its prompt are, in the features of an extractor.

    s = mean over samples x and pictures y of  f(x)·f(y) / (|f(x)| |f(y)|)

With CLIP it is the CLIP-I of DreamBooth (Ruiz et al. 2023). The card has that of the pictures themselves.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from diffexp.data import Mix
from diffexp.data.batch import Batch
from diffexp.data.dataset import DataSet
from diffexp.errors import ConfigError
from diffexp.metrics.each import Each
from diffexp.metrics.extractor import Extractor, extract
from diffexp.metrics.metric import Card

BATCH = 256
INSTANCE = "instance"


class InstanceSimilarity:
    """Key similarity_instance_EXTRACTOR, the mean cosine similarity to the instance images: those of
    `reference` of the data, or of a mixture of its part `instance`, or else of the one that is shown.
    """

    def __init__(self, reference: Literal["train", "val", "test"] = "train") -> None:
        self.reference: Literal["train", "val", "test"] = reference
        self._card: Card = {}
        self.reset()

    def check(self, data: DataSet, extractor: Extractor | None) -> None:
        """Raise ConfigError without an extractor."""
        if extractor is None:
            do = "type metrics=instance, metrics=instance_clip or metrics=instance_dinov2"
            raise ConfigError("the similarity needs an extractor", "metrics.extractor", do)

    def prepare(self, data: DataSet, extractor: Extractor | None, n: int) -> None:
        """Take the mean of the unit features of the pictures: the mean of cosines is linear in them."""
        assert extractor is not None
        images = _instance(data).split(self.reference)
        parts = [
            F.normalize(extract(extractor, images.batch(index).image).double())
            for index in torch.arange(len(images)).split(BATCH)
        ]
        count, total = len(images), torch.cat(parts).sum(0).cpu()
        self._mean = total / count
        self._name = f"similarity_instance_{extractor.name}"
        self._card = {
            "extractor": extractor.name,
            "sha256": extractor.sha256[:12],
            "n": 0,
            "n_reference": count,
        }
        if count > 1:  # without each with itself
            self._card["real"] = float((total @ total - count) / (count * (count - 1)))
        self.reset()

    def update(self, batch: Batch, features: Tensor | None) -> None:
        """Take in the features (B, dim) of generated images."""
        assert features is not None
        self._each.update(batch.index, F.normalize(features.cpu().double()) @ self._mean)

    def compute(self) -> dict[str, float]:
        """Return the mean over all ranks: a collective call."""
        self.each = self._each.over_ranks()[0]
        n = len(self.each)
        self._card["n"] = n
        if n < 2:
            return {}
        self._card["standard_errors"] = {self._name: float(self.each.std()) / n**0.5}
        return {self._name: float(self.each.mean())}

    def card(self) -> Card:
        return dict(self._card)

    def evidence(self) -> dict[str, Tensor]:
        """Return the similarity of each image, for comparisons."""
        return {f"{self._name}/each": self.each} if len(self.each) else {}

    def reset(self) -> None:
        self._each, self.each = Each(), torch.empty(0)


def _instance(data: DataSet) -> DataSet:
    if not isinstance(data, Mix):
        return data
    seen = [*data.seen.values()]
    return data.parts.get(INSTANCE) or (seen[0] if len(seen) == 1 else data)
