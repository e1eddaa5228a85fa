"""How far a fine-tuned model has gone from its base, where nothing was to change: both make images of general
captions from the same noise, so that the difference is that of the weights alone.
"""

from dataclasses import dataclass
from functools import reduce
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from diffexp.metrics.distributed import summed
from diffexp.metrics.evaluator import Evaluator
from diffexp.metrics.extractor import Extractor, extract
from diffexp.metrics.fid import jackknife
from diffexp.metrics.metric import Card
from diffexp.metrics.statistics import Statistics, frechet_distance
from diffexp.model.model import Model
from diffexp.model.restore import Restored
from diffexp.samplers import generate
from diffexp.training.general import CACHE, How, base_model, check_same, general, images_of

PARTS = 10  # each left out once, for the standard error
SIDE = 8  # pixels to which images are brought down, where there is no extractor
WHERE, DO = "evaluator.drift", "type evaluator.drift=0"


@dataclass
class Drift:
    """The distance from `base`, by images of the captions of its validation split, or of its classes.

    before: what the base made of them, uint8 (n, C, H, W). extractor: of the features in which sets are
    compared; None for the pixels of small images.
    """

    base: Restored
    n: int
    how: How
    extractor: Extractor | None
    device: torch.device

    def __post_init__(self) -> None:
        self.asked = general(self.base, self.n, "val")
        what = "images of general prompts, for the drift,"
        self.before = images_of(self.base, self.asked, self.how, self.device, CACHE, what)
        self.path = str(self.base.path)
        self.base.model.cpu()

    def measure(
        self, model: Model, device: torch.device | str, rank: tuple[int, int] = (0, 1)
    ) -> tuple[dict[str, float], dict[str, Card]]:
        """Return the values and the card of each: drift, the Fréchet distance of both sets, and drift_pairs,
        the mean squared distance of the pixels, in [0, 1], of two images from the same noise. A collective
        call; each rank makes its share.
        """
        sums = torch.zeros(3, dtype=torch.float64)  # images, Σ distance, Σ distance²
        sets = [(self._statistics(), self._statistics()) for _ in range(PARTS)]
        for index in torch.arange(rank[0], self.n, rank[1]).split(self.how.batch_size):
            how = self.how
            after = generate(
                model, how.sampler, index, self.asked[index], how.guidance, how.clip, how.seed, len(index),
                device,
            )  # fmt: skip
            before = self.before[index]
            each = ((before.double() - after.double()) / 255).square().flatten(1).mean(1)
            sums += torch.stack([torch.tensor(float(len(each))), each.sum(), each.square().sum()])
            self._add(sets, index, before, after)
        return self._values(summed(sums)[0], [(a.over_ranks(), b.over_ranks()) for a, b in sets])

    def _add(
        self, sets: list[tuple[Statistics, Statistics]], index: Tensor, before: Tensor, after: Tensor
    ) -> None:
        features = [self._features(images) for images in (before, after)]
        chosen = (index + index // PARTS) % PARTS  # not index % PARTS: classes are asked for in turn
        for k, (a, b) in enumerate(sets):
            own = (chosen == k).to(features[0].device)
            a.update(features[0][own])
            b.update(features[1][own])

    def _statistics(self) -> Statistics:
        if self.extractor is not None:
            return Statistics(self.extractor.dim, self.extractor.device)
        return Statistics(self._features(self.before[:1]).shape[1])

    def _features(self, images: Tensor) -> Tensor:
        if self.extractor is not None:
            return extract(self.extractor, images)
        height, width = images.shape[2:]
        small = F.adaptive_avg_pool2d(images.double() / 255, (min(SIDE, height), min(SIDE, width)))
        return small.flatten(1)

    def _values(
        self, sums: Tensor, sets: list[tuple[Statistics, Statistics]]
    ) -> tuple[dict[str, float], dict[str, Card]]:
        n, total, squares = sums.tolist()
        mean = total / n
        before, after = (reduce(Statistics.__add__, parts) for parts in zip(*sets, strict=True))
        values = {"drift": frechet_distance(before, after), "drift_pairs": mean}
        features = f"{SIDE}x{SIDE} pixels" if self.extractor is None else self.extractor.name
        card: dict[str, Any] = {"n": int(n), "extractor": features, "base": self.path}
        card |= {"sampler": repr(self.how.sampler), "guidance": repr(self.how.guidance)}
        if n < 2 * PARTS:
            return values, {key: dict(card) for key in values}
        without = [frechet_distance(before - a, after - b) for a, b in sets]
        spread = max(0.0, squares / n - mean**2) * n / (n - 1)
        errors = {"drift": jackknife(without), "drift_pairs": (spread / n) ** 0.5}
        return values, {key: card | {"standard_error": errors[key]} for key in values}


def drift_of(init: str | None, evaluator: Evaluator, model: Model, device: torch.device) -> Drift | None:
    """Return what measures the drift from the run that a training begins with, None where there is none, or
    it is not asked for. Makes the images of that run. Raises DiffexpError.
    """
    if not evaluator.drift or not init:
        return None
    base = checked_base(init, model)
    how = How(evaluator.sampler, evaluator.guidance, evaluator.clip, evaluator.seed, evaluator.batch_size)
    return Drift(base, evaluator.drift, how, evaluator.metrics.extractor, device)


def checked_base(init: str, model: Model) -> Restored:
    """Return the run that the drift is measured from. Raises ConfigError where it makes other images, or is
    told other things, DataError.
    """
    base = base_model(init)
    check_same(base, model, WHERE, DO)
    return base
