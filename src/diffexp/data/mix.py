"""data=mix: a data set of several, each with its share of the training images."""

import math
from collections.abc import Mapping
from typing import Any

from diffexp.archive import is_dict
from diffexp.config.suggest import nearest
from diffexp.data.dataset import DataSet, Images, SplitName, Splits
from diffexp.data.mixed import Mixed, repeated
from diffexp.errors import ConfigError

MOST = 10**8


class Mix(DataSet):
    """A mixture of the data sets `parts`, by name, whose images have one shape.

    weights: how often a training image is of each part, 1 where none is given; 0 leaves it out. Each image of
    a part is seen, and as often as the others of it, up to one time.
    prompts: by part, one caption for all of its images, in place of their own. val: the part whose validation
    and test images are those of the mixture; None for those of all parts, one after the other.
    There are classes where those of all parts are the same. Raises ConfigError.
    """

    def __init__(
        self,
        parts: Mapping[str, DataSet] | None = None,
        weights: Mapping[str, float] | None = None,
        prompts: Mapping[str, str | None] | None = None,
        val: str | None = None,
    ) -> None:
        if not parts:
            do = "type +data@data.parts.a=folder data.parts.a.path=... +data@data.parts.b=..."
            raise ConfigError("a mixture of nothing", "data.parts", do)
        self.parts = {name: _data_set(name, part) for name, part in parts.items()}
        given = {
            name: value for name, value in self._by_part("prompts", prompts).items() if value is not None
        }
        self.prompts: dict[str, str] = {name: str(value) for name, value in given.items()}
        self.weights = {name: 1.0 for name in parts} | self._by_part("weights", weights)
        self._check_weights()
        if val is not None:
            self._by_part("val", {val: None})
        self.val = val
        self.name = "mix_" + "_".join(parts)
        self._made = dict[str, Images]()

    def _by_part(self, key: str, values: Mapping[str, Any] | None) -> dict[str, Any]:
        """Return values by the names of parts. Raises ConfigError for a name that is none."""
        if not is_dict(values or {}):
            do = f"give names with values, data.{key}={{{next(iter(self.parts))}:...}}"
            raise ConfigError(f"{key}={values!r:.80}", f"data.{key}", do)
        for name in values or {}:
            if name not in self.parts:
                near = nearest(str(name), list(self.parts))
                do = f"type {near}" if near else f"choose from {', '.join(self.parts)}"
                raise ConfigError(f"the mixture has no part {str(name)[:80]}", f"data.{key}", do)
        return dict(values or {})

    def _check_weights(self) -> None:
        for name, weight in self.weights.items():
            number = isinstance(weight, (int, float)) and not isinstance(weight, bool)
            if not number or not 0 <= weight < math.inf:
                where = f"data.weights.{name}"
                raise ConfigError(f"{weight!r:.40} is no weight", where, "give 0 or more, 1 for as often")
        if not any(self.weights.values()):
            raise ConfigError("all weights are 0", "data.weights", "leave one part in, with weight 1")

    @property
    def used(self) -> dict[str, DataSet]:
        """The parts of which there are training images."""
        return {name: part for name, part in self.parts.items() if self.weights[name]}

    @property
    def seen(self) -> dict[str, DataSet]:
        """The parts of which there are validation and test images."""
        return self.used if self.val is None else {self.val: self.parts[self.val]}

    @property
    def tells_size(self) -> bool:
        return all(part.tells_size for part in (self.used | self.seen).values())

    @property
    def draws_crops(self) -> bool:
        return any(part.draws_crops for part in self.used.values())

    @property
    def shape(self) -> tuple[int, int, int]:
        return next(iter(self.seen.values())).shape

    @property
    def classes(self) -> tuple[str, ...] | None:
        first, *others = (part.classes for part in (self.used | self.seen).values())
        return first if all(other == first for other in others) else None

    def check(self) -> None:
        """Have each part check its files. What is wrong with the mixture itself is said when its training
        images are asked for: whoever measures it does not need them all.
        """
        for part in (self.used | self.seen).values():
            part.check()

    def read(self) -> Splits:
        return Splits(self.split("train"), self.split("val"), self.split("test"))

    def split(self, name: SplitName) -> Images:
        """Return the images of a split, made once. Raises ConfigError where parts do not fit."""
        if name not in self._made:
            self._made[name] = self._training() if name == "train" else self._shown(name)
        return self._made[name]

    def _training(self) -> Images:
        parts = {name: part.split("train") for name, part in self.used.items()}
        self._check_parts(parts)
        counts = repeated({name: len(images) for name, images in parts.items()}, self.weights)
        if (total := sum(counts.values())) > MOST:
            what = f"with these weights the images of an epoch are {total:,}, where each is to be seen"
            raise ConfigError(what, "data.weights", f"give weights nearer to each other (most {MOST:,})")
        return Mixed(parts, counts, self.prompts, self.classes is not None)

    def _shown(self, name: SplitName) -> Images:
        parts = {part: data.split(name) for part, data in self.seen.items()}
        if len(parts) == 1 and not set(parts) & set(self.prompts):
            return next(iter(parts.values()))
        counts = {part: len(images) for part, images in parts.items()}
        return Mixed(parts, counts, self.prompts, self.classes is not None)

    def _check_parts(self, parts: Mapping[str, Images]) -> None:
        shapes = {name: tuple(part.shape) for name, part in (self.used | self.seen).items()}
        if len(set(shapes.values())) > 1:
            listed = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
            do = f"give them one size and one mode, data.parts.{next(iter(shapes))}.size=..."
            raise ConfigError(f"the images of the parts have different shapes: {listed}", "data.parts", do)
        told = [name for name, images in parts.items() if images.captions or name in self.prompts]
        if told and (silent := [name for name in parts if name not in told]):
            what = f"{', '.join(told)} has captions, and {', '.join(silent)} has none"
            do = f"give all images of it one caption: 'data.prompts={{{silent[0]}: \"a photo of a cat\"}}'"
            raise ConfigError(what, f"data.parts.{silent[0]}", do)


def _data_set(name: str, part: Any) -> DataSet:
    if not isinstance(part, DataSet):
        what = f"{type(part).__name__} is no data set"
        raise ConfigError(what, f"data.parts.{name}", f"type +data@data.parts.{name}=folder, say")
    if getattr(part, "buckets", None) is not None:
        do = f"type +data@data.parts.{name}=folder, of images of one size"
        raise ConfigError("a mixture has no buckets", f"data.parts.{name}.buckets", do)
    return part
