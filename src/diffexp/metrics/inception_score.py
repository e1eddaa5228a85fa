"""Inception score: how sure a classifier is of each image, and how many classes it finds in all of them.

exp E_x KL(p(y|x) || p(y))                                                (Salimans et al. 2016)
"""

from typing import Literal

from torch import Tensor

from diffexp.data.dataset import DataSet
from diffexp.errors import ConfigError
from diffexp.metrics import reference as real
from diffexp.metrics.extractor import Extractor
from diffexp.metrics.features import Bank
from diffexp.metrics.metric import Card


class InceptionScore(Bank):
    """Keys inception_score_<extractor> and inception_score_std_<extractor>: mean and standard deviation over
    `splits` parts, as torch-fidelity takes them. Published values are of the Inception's 2,048 features; with
    a classifier of the data itself it is that classifier's score. The card has that of as many real images.
    """

    name = "the Inception score"

    def __init__(
        self,
        reference: Literal["train", "val", "test"] = "train",
        splits: int = 10,
        most: int = 10_000,
        cache: str | None = real.CACHE,
    ) -> None:
        super().__init__(reference, most, cache)
        if splits < 1:
            raise ConfigError(f"splits={splits}", "metrics", "give 1 or more parts")
        self.splits = splits

    def check(self, data: DataSet, extractor: Extractor | None) -> None:
        """Raise ConfigError for an extractor that is no classifier."""
        super().check(data, extractor)
        assert extractor is not None
        if not extractor.classifies:
            what = f"{extractor.name} finds no classes, so it gives no Inception score"
            raise ConfigError(what, "metrics.extractor", "type metrics=inception_all or metrics=digits_all")

    def prepare(self, data: DataSet, extractor: Extractor | None, n: int) -> None:
        assert extractor is not None
        self._extractor = extractor
        super().prepare(data, extractor, n)

    def of(self, real_features: Tensor, generated: Tensor) -> dict[str, float]:
        self._card["real"] = self._score(real_features[: len(generated)])[0]
        mean, std = self._score(generated)
        self.errors = {"inception_score": std / self.splits**0.5}
        return {"inception_score": mean, "inception_score_std": std}

    def _score(self, features: Tensor) -> tuple[float, float]:
        from torch_fidelity.metric_isc import isc_features_to_metric

        logits = self._extractor.logits(features.to(self._extractor.device)).cpu()
        scores = isc_features_to_metric(logits, min(self.splits, len(logits)))
        return float(scores["inception_score_mean"]), float(scores["inception_score_std"])

    def card(self) -> Card:
        return super().card() | {"splits": self.splits}
