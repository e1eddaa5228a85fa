"""FID: the Fréchet distance of the features of real and generated images (Heusel et al. 2017).

It depends on the number of images, on the extractor and on the reference, so each comes with a card, and with
its floor: the FID of that many real images against the rest of the reference, which no model need beat.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from diffexp.data.batch import Batch
from diffexp.data.dataset import DataSet
from diffexp.errors import ConfigError, check_at_most
from diffexp.metrics import reference as real
from diffexp.metrics.extractor import Extractor, sha256_of
from diffexp.metrics.metric import Card
from diffexp.metrics.statistics import Statistics, frechet_distance

_log = logging.getLogger(__name__)


class FID:
    """Key fid_<extractor>. The card's floor is of n images if the reference has 2n, else of half of it.

    reference: the split of real images. cache: folder of its statistics, or null for none. statistics: a .npz
    with mu and sigma (pytorch-fid's, EDM's, ADM's, or that of task=stats), or with images, in place of the
    split's; the floor is then the FID of images of the split to them. parts: of the images, each left out
    once for the standard error in the card (the delete-a-group jackknife); 0 for none.
    """

    def __init__(
        self,
        reference: Literal["train", "val", "test"] = "train",
        cache: str | None = real.CACHE,
        statistics: str | None = None,
        parts: int = 10,
    ) -> None:
        if parts < 0 or parts == 1:
            raise ConfigError(f"parts={parts}", "metrics", "give 2 or more, or 0 for no standard error")
        check_at_most(1000, "metrics", parts=parts)
        self.parts = parts
        self.reference: Literal["train", "val", "test"] = reference
        self.cache, self.statistics = cache, statistics
        self._card: Card = {}

    def check(self, data: DataSet, extractor: Extractor | None) -> None:
        """Raise ConfigError without an extractor, or with a reference of fewer than 4 images."""
        if extractor is None:
            raise ConfigError(
                "FID needs an extractor", "metrics.extractor", "type metrics=digits or metrics=inception"
            )
        count = len(data.split(self.reference))
        if count < 4:
            what = f"the {self.reference} split of {data.name} has {count} images: too few for FID"
            raise ConfigError(what, "metrics", "type metrics=none, or take another reference")
        if self.statistics is not None:
            real.check_given(self.statistics, extractor)

    def prepare(self, data: DataSet, extractor: Extractor | None, n: int) -> None:
        """Get the real statistics and the floor, from the cache or by extraction."""
        assert extractor is not None
        if self.statistics is None:
            self._real = real.whole(data, self.reference, extractor, self.cache)
        else:
            self._real = real.given(self.statistics, extractor, self.cache)
        count = len(data.split(self.reference))
        floor_n = min(n, count // 2)
        self._card = {
            "extractor": extractor.name,
            "sha256": extractor.sha256[:12],
            "dim": extractor.dim,
            "n": 0,
            "n_reference": count,
            "data": data.name,
            "split": self.reference,
            "statistics": self.statistics,
            "fingerprint": data.fingerprint(self.reference)[:12],
            "floor": self._floor(data, extractor, floor_n),
            "floor_n": floor_n,
        }
        if n <= extractor.dim:
            # the card repeats it beside the number
            _log.warning("%s", self._too_few(n))
        self.reset()

    def _floor(self, data: DataSet, extractor: Extractor, n: int) -> float:
        given = () if self.statistics is None else (sha256_of(Path(self.statistics).expanduser()),)

        def make() -> dict[str, Tensor]:
            some = real.part(data, self.reference, extractor, n)
            others = self._real if given else self._real - some
            return {"floor": torch.tensor(frechet_distance(some, others), dtype=torch.float64)}

        name = real.key(data, self.reference, extractor, "floor", n, *given)
        return float(real.cached(self.cache, name, make)["floor"])

    def _too_few(self, n: int) -> str:
        dim = self._card["dim"]
        return f"n={n} is not more than the {dim} features: the covariance is singular, and FID far too high"

    def update(self, batch: Batch, features: Tensor | None) -> None:
        """Take in the features (B, dim) of generated images. Raises DataError when they are not finite."""
        assert features is not None
        number, count = batch.index.cpu(), len(self._generated)
        chosen = (number + number // count) % count  # not number % count: classes are asked for in turn
        for k, part in enumerate(self._generated):
            part.update(features[(chosen == k).to(features.device)])

    def compute(self) -> dict[str, float]:
        """Return the FID of the images of all ranks. Raises ConfigError for fewer than 2 images."""
        parts = [part.over_ranks() for part in self._generated]
        whole = sum(parts[1:], parts[0])
        n = int(whole.n)
        if n < 2:
            raise ConfigError(
                f"FID needs at least 2 generated images, not {n}", "metrics.n", "type metrics.n=1000"
            )
        self._card["n"] = n
        key = f"fid_{self._card['extractor']}"
        if self.parts and n >= 2 * self.parts:
            self._without = [frechet_distance(self._real, whole - part) for part in parts]
            self._card["standard_errors"] = {key: jackknife(self._without)}
        return {key: frechet_distance(self._real, whole)}

    def card(self) -> Card:
        """Return extractor, weights, n, reference and floor; a note where n is too small for the features."""
        few = 0 < self._card["n"] <= self._card["dim"]
        return self._card | ({"note": self._too_few(self._card["n"])} if few else {})

    def evidence(self) -> dict[str, Tensor]:
        """Return the FID without each part. The parts depend on the numbers of images alone, so the jackknife
        of a difference leaves the same ones out of both.
        """
        key = f"fid_{self._card['extractor']}/without"
        return {key: torch.tensor(self._without, dtype=torch.float64)} if self._without else {}

    def reset(self) -> None:
        dim, place = self._card["dim"], self._real.total.device
        self._generated, self._without = [Statistics(dim, place) for _ in range(self.parts or 1)], []
        self._card.pop("standard_errors", None)


def jackknife(without: Sequence[float]) -> float:
    """Return the standard error of an estimate, from those with one of the equal parts left out."""
    values = torch.tensor(without, dtype=torch.float64)
    return float(((len(values) - 1) * values.var(correction=0)).sqrt())
