"""What a doctor sees of any patient, a run or a folder: images, what is measured of them, and their data."""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, TypeVar

import torch
from PIL import Image
from torch import Tensor

from diffexp.comparison.difference import Difference, Number, of_evaluations
from diffexp.comparison.evidence import Evidence
from diffexp.data import DataSet
from diffexp.doctor.signs import Signs, signs_of
from diffexp.metrics import Evaluation, MetricSet
from diffexp.pictures import grid

ALIGNMENT = ("right", "accuracy_", "clip_score_")
"""How the keys begin that say whether an image shows what was asked for, the first that is there."""
SHOWN = 16  # images in a row of a picture
T = TypeVar("T")


class Samples:
    """data, metrics: real images, and FID and judges of n images; ckpt: where the patient lies."""

    data: DataSet
    metrics: MetricSet
    ckpt: str
    device: Any
    _kept: dict[str, Any]

    @abstractmethod
    def draw(self) -> Evaluation:
        """Return n images, and what is measured of them."""

    @abstractmethod
    def again(self, *more: str) -> list[str]:
        """Return the command line that measures this patient with something else."""

    def sooner(self, *more: str) -> list[list[str]]:
        """Return the command lines of a training that ends sooner; none where nothing is known of one."""
        return []

    @abstractmethod
    def about(self) -> dict[str, object]:
        """Return what is examined, for the head of a page."""

    def once(self, name: str, make: Callable[[], T]) -> T:
        """Return what `make` returns, which is made once for all examinations that ask for it."""
        if name not in self._kept:
            self._kept[name] = make()
        return self._kept[name]

    @property
    def n(self) -> int:
        """The number of images that are drawn each time."""
        return self.metrics.n

    @property
    def fid_key(self) -> str:
        """The key of FID."""
        assert self.metrics.extractor is not None
        return f"fid_{self.metrics.extractor.name}"

    @property
    def alignment_key(self) -> str | None:
        """The key of what says whether images show what was asked for; None where nothing does."""
        keys = self.draw().values
        return next((key for begin in ALIGNMENT for key in keys if key.startswith(begin)), None)

    def fid(self, drawn: Evaluation | None = None) -> float:
        """Return FID, by default of images as they are asked for."""
        return (drawn or self.draw()).values[self.fid_key]

    @property
    def floor(self) -> float:
        """The FID of as many real images to the others."""
        return float(self.draw().cards[self.fid_key]["floor"])

    def difference(self, key: str, a: Evaluation, b: Evaluation) -> Difference:
        """Return the difference of one number, paired where the images are of the same noise."""
        return of_evaluations(_number(key, a), _number(key, b))

    def measure(
        self, images: Tensor, labels: Tensor | None = None, texts: Sequence[str] | None = None
    ) -> dict[str, float]:
        """Return what the metrics say of other images, uint8 (N, C, H, W), and the classes (N,) or captions
        that were asked for.
        """
        self.metrics.reset()
        self.metrics.update(images, labels, None if texts is None else list(texts))
        values = self.metrics.compute()
        self.metrics.reset()
        return values

    @cached_property
    def real(self) -> Tensor:
        """Training images, uint8 (N, C, H, W), as many as are drawn, evenly from all."""
        images = self.data.split("train")
        index = torch.linspace(0, len(images) - 1, min(self.n, len(images))).long().unique()
        return images.batch(index).image

    @cached_property
    def real_signs(self) -> Signs:
        """The signs of the training images."""
        return signs_of(self.real)

    def beside_real(self) -> dict[str, Image.Image]:
        """Return a picture of samples as they are asked for, and of training images."""
        return self.pictures({"samples": self.draw(), "training images": shown_as(self.real)})

    def pictures(self, drawn: Mapping[str, Evaluation]) -> dict[str, Image.Image]:
        """Return a row of images of each, of the same noise."""
        images = torch.cat([e.images[:SHOWN] for e in drawn.values()])
        names = [name for name, e in drawn.items() for _ in e.images[:SHOWN]]
        return {" and ".join(drawn): grid(images, names, SHOWN, 48)}


def shown_as(images: Tensor) -> Evaluation:
    """Return images uint8 (N, C, H, W) for a picture: nothing was measured of them."""
    return Evaluation({}, {}, images, None, 0, 0.0)


def _number(key: str, drawn: Evaluation) -> Number:
    card = drawn.cards[key]
    arrays = {name: values.double().numpy() for name, values in drawn.evidence.items()}
    evidence = Evidence(arrays, drawn.pairing)
    return Number(key, drawn.values[key], card.get("n", 0), card.get("standard_error"), evidence)
