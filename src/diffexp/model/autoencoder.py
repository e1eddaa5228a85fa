"""The autoencoder of a run of task=autoencoder as a codec, restored from its checkpoint."""

import json
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from math import isfinite, prod
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from diffexp.archive import is_dict, is_list, plain
from diffexp.codecs.autoencoded import FOLDER, Autoencoded, Shape
from diffexp.config.build import OURS, build
from diffexp.config.catalogue import judge
from diffexp.config.check import check
from diffexp.config.kinds import check_kinds
from diffexp.errors import ConfigError, DataError, all_at_once
from diffexp.files import read_json
from diffexp.model.checkpoint import LAST
from diffexp.model.find import MOST_NUMBERS, find, read, written
from diffexp.model.weights import holding_together, load_weights, no_larger_than, weights_of
from diffexp.networks.sized_autoencoder import autoencoder_for

KIND, PLACE = "autoencoder", "autoencoder.network"
_TRAIN = "python run.py task=autoencoder data=..."


@dataclass(frozen=True)
class Description:
    """A checkpoint says this of itself. node: of the network; shape: (C, H, W) of its images; weights:
    without their numbers; results: of its run, such as the FID of its reconstructions, rfid_...
    """

    node: Mapping[str, Any]
    shape: tuple[int, int, int]
    weights: Mapping[str, Tensor]
    results: Mapping[str, float]


class AutoencoderOfRun(Autoencoded):
    """ckpt: a run of task=autoencoder, or its checkpoint; ema: the averaged weights, or those being trained.

    scale, centre, cache, folder: see Autoencoded.
    """

    def __init__(
        self,
        ckpt: str | None = None,
        ema: bool = True,
        scale: Literal["all", "channel"] | float = "all",
        centre: bool = True,
        cache: bool = True,
        folder: str = FOLDER,
    ) -> None:
        super().__init__(scale, centre, cache, folder)
        self.source, self.ema = ckpt, ema
        self._ceilings: Mapping[str, float] = {}

    def _path(self) -> Path:
        if self.source is None:
            do = f"train one: {_TRAIN}; then type codec.ckpt=RUN, its folder"
            raise ConfigError("codec=autoencoder needs an autoencoder", "codec.ckpt", do)
        return find(self.source)

    def check(self) -> None:
        with _of_codec():
            path = self._path()
            _described(path, written(path), self.ema)

    def sized(self, shape: Shape) -> tuple[Shape, Shape]:
        with _of_codec():
            path = self._path()
            told = _described(path, written(path), self.ema)
            network = _network(told, told.weights, path, "meta")
        return _latent(network, shape, told.shape, str(path)), told.shape

    def load(self) -> None:
        with _of_codec():
            path = self._path()
            told, weights = description(read(path), path, self.ema)
            network = _network(told, weights, path, "cpu")
            load_weights(network, weights, path)
        known = self.ema and self._fits is not None and self._fits[0] == told.shape
        self._ceilings = told.results if known else {}  # of these weights, and of such images
        self.put(network, json.dumps(told.node, sort_keys=True))

    def ceiling(self, metric: str) -> dict[str, Any]:
        return {"ceiling": self._ceilings.get(f"r{metric}", "not measured")}


@contextmanager
def _of_codec() -> Generator[None]:
    """Name the key of the codec where that of a task would be named, and what is typed for it."""
    try:
        yield
    except (ConfigError, DataError) as error:
        where, do = error.where, error.do
        if where.startswith("autoencoder.network"):
            where = "codec.ckpt"
        if where.startswith("task.ckpt"):
            where, do = (
                "codec.ckpt",
                "type codec=autoencoder codec.ckpt=RUN, the folder of its run as it lies now",
            )
        raise type(error)(error.what, where, do) from error


@lru_cache(maxsize=4)
def _described(path: Path, written: int, ema: bool) -> Description:
    told, weights = description(read(path), path, ema)
    empty = {name: torch.empty_like(value, device="meta") for name, value in weights.items()}
    return Description(told.node, told.shape, empty, told.results)


def description(
    checkpoint: Mapping[str, Any], path: Path, ema: bool = True
) -> tuple[Description, dict[str, Tensor]]:
    """Return what the checkpoint of a run of task=autoencoder says of itself, and the weights of its network.

    Raises DataError for another, or a damaged one.
    """
    told: Any = plain({k: v for k, v in checkpoint["diffexp"].items() if k != "meter"}, "diffexp", path)
    if told.get("kind") != KIND:
        raise DataError("this is no run of task=autoencoder", str(path), f"train one: {_TRAIN}")
    node, shape = told.get("autoencoder"), told.get("shape")
    if not is_dict(node) or not is_list(shape) or not _is_shape(shape):
        what = f"the checkpoint is damaged in {'shape' if is_dict(node) else 'autoencoder'}"
        raise DataError(what, str(path), "use another checkpoint of the run")
    average = 0 if ema and checkpoint.get("ema") else None
    weights = weights_of(checkpoint, average, path)
    channels, height, width = shape
    return Description(node, (channels, height, width), weights, _results(told, path)), weights


def _is_shape(shape: list[Any]) -> bool:
    whole = len(shape) == 3 and all(type(side) is int and side >= 1 for side in shape)
    return whole and prod(shape) <= MOST_NUMBERS


def _network(told: Description, weights: Mapping[str, Tensor], path: Path, device: str) -> Any:
    """Build the network that a checkpoint names, of the catalogue, and no larger than its weights."""
    all_at_once(judge(told.node, PLACE))
    check({PLACE: told.node}, OURS, construct=False)
    with torch.device(device), holding_together(path), no_larger_than(weights, path):
        made = autoencoder_for(told.shape, build(told.node, PLACE, OURS))
    check_kinds({PLACE: made})
    return made


def _latent(network: Any, shape: Shape, own: Shape, path: str) -> Shape:
    """Return the shape of z of images of a shape. Raises ConfigError; own: of those it was trained on."""
    try:
        return tuple(network.latent(shape))
    except ConfigError as error:
        other = f"data of {'x'.join(map(str, own))}, which it was trained on"
        if shape[0] == own[0] and hasattr(network, "factor"):
            other = f"sides that are multiples of {network.factor} (data.size, of a folder)"
        do = f"train one of these images: {_TRAIN}; or take {other}"
        raise ConfigError(error.what, f"codec.ckpt={path}", do) from error


def _results(told: Mapping[str, Any], path: Path) -> dict[str, float]:
    """Return the numbers that were measured of it: of the checkpoint, and for the last one of the run.json of
    its run.
    """
    results: dict[Any, Any] = {}
    for more in (told.get("results"), _run(path).get("results")):
        results |= more if is_dict(more) else {}
    return {str(k): v for k, v in results.items() if type(v) is float and isfinite(v)}


def _run(path: Path) -> dict[str, Any]:
    with suppress(OSError, DataError):
        return read_json(path.parent.parent / "run.json") if path.name == LAST else {}
    return {}
