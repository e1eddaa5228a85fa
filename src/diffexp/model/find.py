"""Where the weights of a run lie, and reading them: its checkpoint, or what task=export has made of it."""

import math
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from diffexp.archive import is_dict, is_list, plain
from diffexp.config.suggest import path_of
from diffexp.errors import DataError
from diffexp.files import read_json
from diffexp.model.adapter_names import TUNED, from_peft
from diffexp.model.checkpoint import LAST, PREVIOUS, latest, read_checkpoint

MODEL_FILE, CONFIG = "model.safetensors", "config.json"  # of task=export
ADAPTER_FILE = "adapter_model.safetensors"  # of task=export task.merge=false
CONCEPT_FILE = "learned_embeds.safetensors"  # and of a new word


def read(path: Path) -> dict[str, Any]:
    """The checkpoint. Raises DataError."""
    return _exported(path) if path.suffix == ".safetensors" else read_checkpoint(path)


def find(path: str | Path, where: str = "task.ckpt") -> Path:
    """The checkpoint at `path`, or the last one of a run folder. where: the key that names it. Raises
    DataError where it is not there, ConfigError for what is no path.
    """
    given = path_of(path, where)
    inside = given / "checkpoints"
    if not given.is_dir():
        return given
    for name in (MODEL_FILE, ADAPTER_FILE, CONCEPT_FILE):
        if (given / name).is_file():
            return given / name
    found = _latest(inside, written(inside / LAST), written(inside / PREVIOUS))
    if found is None:
        do = "give a run folder or a .ckpt file"
        raise DataError(f"no checkpoints/last.ckpt in {given}", where, do)
    return found


@contextmanager
def named_by(where: str) -> Generator[None, None, None]:
    """Say of a run that is not there by which key it was named, where that was not task.ckpt."""
    try:
        yield
    except DataError as error:
        raise error if error.where != "task.ckpt" else DataError(error.what, where, error.do) from error


MODEL = ("network", "schedule", "prediction", "variance", "conditioning", "codec")
AUTOENCODER = "autoencoder"  # the kind of a checkpoint of task=autoencoder
LONGEST_NAME = 1000  # of a class: it is drawn into pictures
MOST_NUMBERS = 1 << 28  # of an image, whose size no weights vouch for


@dataclass(frozen=True)
class Description:
    """A checkpoint says this of itself. config: of the training run, plain values; shape: (C, H, W) of the
    images; classes: their names, or None; step: of the optimizer; decays: of the averages; base: digests of
    the weights that come from other files, by the part that has them; learned: what the conditioning knows of
    the captions; codec: what the codec has measured; base_file: of an adapted run, the file of the run below
    its adapters.
    """

    config: dict[str, Any]
    shape: tuple[int, int, int]
    classes: tuple[str, ...] | None
    step: int
    decays: tuple[float, ...]
    base: Mapping[str, str]
    learned: Mapping[str, Any]
    codec: Mapping[str, Any]
    base_file: str | None


def describe(checkpoint: Mapping[str, Any], path: Path) -> Description:
    """Return what the checkpoint of a model of images says of itself. Raises DataError for what is wrong."""
    told: Any = plain({k: v for k, v in checkpoint["diffexp"].items() if k != "meter"}, "diffexp", path)
    if "config" not in told:
        do = "give a run of task=train; this one is for guidance.ckpt"
        raise DataError("the checkpoint holds no model of images", str(path), do)
    if told.get("kind") == AUTOENCODER:
        do = f"give a run of task=train; with this one, codec=autoencoder codec.ckpt={path}"
        raise DataError("the checkpoint is of an autoencoder, and holds no diffusion", str(path), do)
    config: Any = told["config"]
    nodes = _in(config, "model")
    faults = [f"config.model.{key}" for key in (*MODEL, "ema") if not isinstance(_in(nodes, key), dict)]
    decays, shape = _in(_in(nodes, "ema"), "decays"), told.get("shape")
    classes, step, base = told.get("classes"), told.get("step"), told.get("base")
    if not (is_list(decays) and all(type(d) in (int, float) for d in decays)):
        faults.append("config.model.ema.decays")
    if not (is_list(shape) and len(shape) == 3 and all(map(_count, shape))):
        faults.append("shape")
    elif math.prod(shape) > MOST_NUMBERS:
        faults.append(f"shape={shape}")
    if not (classes is None or _texts(classes)):
        faults.append("classes")
    if not (isinstance(step, int) and 0 <= step < 10**15):
        faults.append("step")
    if not isinstance(checkpoint.get("trained"), Mapping) and not isinstance(checkpoint.get("ema"), list):
        faults.append("trained")
    if not (base is None or (is_dict(base) and all(isinstance(v, str) for v in base.values()))):
        faults.append("base")
    learned, codec, file = told.get("learned"), told.get("codec"), told.get("base_file")
    faults += [
        key
        for key, value in (("learned", learned), ("codec", codec))
        if not (value is None or is_dict(value))
    ]
    if not (file is None or _name(file)):
        faults.append("base_file")
    if faults:
        do = "use another checkpoint, or the version of diffexp that wrote it"
        raise DataError(f"the checkpoint is damaged in {', '.join(faults)}", str(path), do)
    names = classes and tuple(classes)
    return Description(
        config, tuple(shape), names, step, tuple(decays), base or {}, learned or {}, codec or {}, file
    )


def _in(node: Any, key: str) -> Any:
    return node.get(key) if is_dict(node) else None


def _count(number: Any) -> bool:
    return isinstance(number, int) and not isinstance(number, bool) and 1 <= number <= MOST_NUMBERS


def _texts(values: Any) -> bool:
    return is_list(values) and len(values) > 0 and all(map(_name, values))


def _name(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= LONGEST_NAME


def written(path: Path) -> int:
    """Return when a file was written, in nanoseconds; 0 for none. What is kept of it is of this file only."""
    return path.stat().st_mtime_ns if path.is_file() else 0


@lru_cache(maxsize=8)
def _latest(folder: Path, *written: int) -> Path | None:
    return latest(folder)


def _exported(path: Path) -> dict[str, Any]:
    """Read what task=export has written, as a checkpoint. Raises DataError."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file  # pyright: ignore[reportUnknownVariableType]

    try:
        told = read_json(path.parent / CONFIG)
        prefix = "denoiser.network." if told.get("format", 1) == 1 else ""  # of the network alone
        of_file = from_peft if path.name == ADAPTER_FILE else prefix.__add__
        weights = {of_file(name): value for name, value in load_file(path).items()}
        if path.name == CONCEPT_FILE and len(weights) == 1:
            weights = {TUNED: weights.popitem()[1]}
        held = {"ema": [weights]} if told["ema"] else {"trained": weights}
    except (OSError, ValueError, KeyError, SafetensorError, DataError) as error:
        do = f"give a folder of task=export, with {MODEL_FILE} and {CONFIG}"
        raise DataError(f"these weights cannot be read: {error}", str(path), do) from error
    return {"diffexp": told, **held}
