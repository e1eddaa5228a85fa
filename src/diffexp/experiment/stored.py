"""Where the weights of a run lie, and reading them: its checkpoint, or what task=export has made of it."""

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from diffexp.errors import DataError
from diffexp.experiment.names import path_of
from diffexp.training.checkpoint import LAST, PREVIOUS, latest, read_checkpoint

MODEL_FILE, CONFIG = "model.safetensors", "config.json"  # of task=export


def read(path: Path) -> dict[str, Any]:
    """The checkpoint. Raises DataError."""
    return _exported(path) if path.suffix == ".safetensors" else read_checkpoint(path)


def find(path: str | Path) -> Path:
    """The checkpoint at `path`, or the last one of a run folder. Raises DataError."""
    given = path_of(path, "task.ckpt")
    inside = given / "checkpoints"
    if not given.is_dir():
        return given
    if (given / MODEL_FILE).is_file():
        return given / MODEL_FILE
    found = _latest(inside, written(inside / LAST), written(inside / PREVIOUS))
    if found is None:
        do = "give a run folder or a .ckpt file"
        raise DataError(f"no checkpoints/last.ckpt in {given}", "task.ckpt", do)
    return found


def written(path: Path) -> int:
    """When, in nanoseconds; 0 for no file. What is kept of a file is of this file only."""
    return path.stat().st_mtime_ns if path.is_file() else 0


@lru_cache(maxsize=8)
def _latest(folder: Path, *written: int) -> Path | None:
    return latest(folder)


def _exported(path: Path) -> dict[str, Any]:
    """What task=export has written, as a checkpoint. Raises DataError."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        told = json.loads((path.parent / CONFIG).read_text())
        prefix = "ema.networks.0." if told["ema"] else "denoiser.network."
        weights = load_file(path)
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        do = f"give a folder of task=export, with {MODEL_FILE} and {CONFIG}"
        raise DataError(f"these weights cannot be read: {error}", str(path), do) from error
    return {"diffexp": told, "state_dict": {prefix + name: w for name, w in weights.items()}}
