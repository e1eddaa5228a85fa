"""The patient: a model, how it is sampled, and its data. It draws images from the same noise each time, and
compares what is measured of them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import torch
from PIL import Image
from torch import Tensor

from diffexp.comparison.difference import Difference, Number, of_evaluations
from diffexp.comparison.evidence import Evidence
from diffexp.data import DataSet
from diffexp.diffusion.clip import Clip
from diffexp.diffusion.guidance import Guidance
from diffexp.doctor.signs import Signs, signs_of
from diffexp.errors import ConfigError
from diffexp.metrics import Evaluation, Evaluator, MetricSet
from diffexp.model.model import Model
from diffexp.pictures import grid
from diffexp.progress import counting
from diffexp.samplers import Sampler

ALIGNMENT = ("right", "accuracy_", "clip_score_")
"""How the keys begin that say whether an image shows what was asked for, the first that is there."""
T = TypeVar("T")
CHANCE = 0.01  # the p-value of a difference, below which it is more than chance
_FOLDER = ("dir", "name", "resume", "task", "dry_run", "init")


@dataclass
class Patient:
    """model: as it is asked for; others: the same with other weights, by their names (raw weights, other
    averages); sampler, guidance, clip: as they are asked for; refused: why that guidance cannot be, which is
    then off; metrics: FID and judges of n images; config: of the training; run: its folder, None for a file
    alone; ckpt, typed: what was typed for this examination; trained: for the training.
    """

    model: Model
    sampler: Sampler
    guidance: Guidance
    clip: Clip
    data: DataSet
    metrics: MetricSet
    config: Mapping[str, Any]
    ckpt: str
    others: Mapping[str, Model] = field(default_factory=dict[str, Model])
    refused: ConfigError | None = None
    run: Path | None = None
    typed: Sequence[str] = ()
    trained: Sequence[str] | None = None
    seed: int = 0
    batch_size: int = 250
    device: Any = "cpu"
    _drawn: dict[str, Evaluation] = field(default_factory=dict[str, Evaluation], init=False)
    _kept: dict[str, Any] = field(default_factory=dict[str, Any], init=False)

    def once(self, name: str, make: Callable[[], T]) -> T:
        """Return what `make` returns, which is made once for all examinations that ask for it."""
        if name not in self._kept:
            self._kept[name] = make()
        return self._kept[name]

    @property
    def n(self) -> int:
        """The number of images that are drawn each time."""
        return self.metrics.n

    def draw(
        self,
        sampler: Sampler | None = None,
        guidance: Guidance | None = None,
        clip: Clip | None = None,
        weights: str | None = None,
    ) -> Evaluation:
        """Return n images and what is measured of them, with what is given in place of what is asked for;
        each kind is drawn once.
        """
        parts = (sampler or self.sampler, guidance or self.guidance, clip or self.clip)
        name = repr((*parts, weights))
        if name not in self._drawn:
            evaluator = Evaluator(*parts, self.metrics, self.seed, self.batch_size, pictures=self.n)
            evaluator.data = self.data
            model = self.model if weights is None else self.others[weights]
            with counting("drawing images") as progress:
                self._drawn[name] = evaluator.run(model, device=self.device, progress=progress)
        return self._drawn[name]

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

    def gain(self, mended: Evaluation) -> tuple[float, bool]:
        """Return by how much FID falls from what is asked for to what is mended, over what counts as much: a
        fifth of it, and half of its floor, below which nobody would see it; and whether that is more than
        chance.
        """
        apart = self.difference(self.fid_key, self.draw(), mended)
        return apart.value / max(GAIN * self.fid(), self.floor / 2), separated(apart)

    def difference(self, key: str, a: Evaluation, b: Evaluation) -> Difference:
        """Return the difference of one number, paired where the images are of the same noise."""
        return of_evaluations(_number(key, a), _number(key, b))

    def again(self, *more: str) -> list[str]:
        """Return the command line that measures this patient with something else."""
        return ["task=evaluate", f"task.ckpt={self.ckpt}", *_without(self.typed, more), *more]

    def train(self, name: str, *more: str) -> list[str]:
        """Return the command line of the training with something else; of a file alone one of its options."""
        typed = self.trained
        if typed is None:
            choices = self.config.get("choices")
            groups = ("data", "network", "schedule", "prediction", "conditioning")
            known = choices if isinstance(choices, Mapping) else {}
            typed = [f"{group}={known[group]}" for group in groups if group in known]
        kept = [text for text in _without(typed, more) if _key(text).split(".")[0] not in _FOLDER]
        return [*kept, *more, f"name={self.config.get('name', 'run')}_{name}"]

    def measure(self, images: Tensor) -> dict[str, float]:
        """Return what the metrics say of other images, uint8 (N, C, H, W)."""
        self.metrics.reset()
        self.metrics.update(images)
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


SHOWN = 16  # images in a row of a picture
GAIN = 0.2  # of FID: differences of less are seen in tables, and not in pictures


def shown_as(images: Tensor) -> Evaluation:
    """Return images uint8 (N, C, H, W) for a picture: nothing was measured of them."""
    return Evaluation({}, {}, images, None, 0, 0.0)


def separated(apart: Difference) -> bool:
    """Return whether a difference is more than chance."""
    return apart.p is not None and apart.p < CHANCE


def with_scale(guidance: Guidance, scale: float) -> Guidance:
    """Return the same guidance at another scale."""
    return replace(guidance, scale=scale)


def _number(key: str, drawn: Evaluation) -> Number:
    card = drawn.cards[key]
    arrays = {name: values.double().numpy() for name, values in drawn.evidence.items()}
    evidence = Evidence(arrays, drawn.pairing)
    return Number(key, drawn.values[key], card.get("n", 0), card.get("standard_error"), evidence)


def _key(text: str) -> str:
    return text.lstrip("+~").partition("=")[0]


def _without(typed: Sequence[str], more: Sequence[str]) -> list[str]:
    """Return what was typed without what is typed otherwise in `more`: a group takes its values with it."""
    given = {_key(text) for text in more}
    return [text for text in typed if _key(text) not in given and _key(text).split(".")[0] not in given]
