"""Where the weights of a run lie, and reading them: its checkpoint, or what task=export has made of it."""

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file

from diffexp.errors import DataError
from diffexp.experiment.names import path_of
from diffexp.training.checkpoint import latest, read_checkpoint

MODEL_FILE, CONFIG = "model.safetensors", "config.json"  # of task=export


def read(path: Path) -> dict[str, Any]:
    """The checkpoint, kept from job to job of a sweep, and from the check to the run. Raises DataError."""
    return _read(path, path.stat().st_mtime_ns if path.is_file() else 0)


def find(path: str | Path) -> Path:
    """The checkpoint at `path`, or the last one of a run folder. Raises DataError."""
    given = path_of(path, "task.ckpt")
    inside = given / "checkpoints" / "last.ckpt"
    if not given.is_dir():
        return given
    if (given / MODEL_FILE).is_file():
        return given / MODEL_FILE
    found = latest(inside.parent)
    if found is None:
        do = "give a run folder or a .ckpt file"
        raise DataError(f"no checkpoints/last.ckpt in {given}", "task.ckpt", do)
    return found


@lru_cache(maxsize=2)
def _read(path: Path, written: int) -> dict[str, Any]:
    return _exported(path) if path.suffix == ".safetensors" else read_checkpoint(path)


def _exported(path: Path) -> dict[str, Any]:
    """What task=export has written, as a checkpoint. Raises DataError."""
    try:
        told = json.loads((path.parent / CONFIG).read_text())
        prefix = "ema.networks.0." if told["ema"] else "denoiser.network."
        weights = load_file(path)
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        do = f"give a folder of task=export, with {MODEL_FILE} and {CONFIG}"
        raise DataError(f"these weights cannot be read: {error}", str(path), do) from error
    return {"diffexp": told, "state_dict": {prefix + name: w for name, w in weights.items()}}
