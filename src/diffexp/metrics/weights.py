"""Files of weights that a stranger may have written: their content is judged before it is used."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diffexp.archive import judge_content
from diffexp.hub import check_stored


def state_dict(file: Path) -> dict[str, Tensor]:
    """Return the tensors by name of a file of torch.save; runs nothing of it, and needs no more memory than
    the file has bytes. Raises DataError, ValueError, or whatever torch does, for anything else.
    """
    check_stored(file)
    content = torch.load(file, map_location="cpu", weights_only=True)
    judge_content(content, file)
    if not isinstance(content, dict):
        raise ValueError(f"it holds a {type(content).__name__} and no tensors by name")
    tensors = {name: value for name, value in content.items() if isinstance(value, Tensor)}
    if strange := [name for name in tensors if not isinstance(name, str)]:
        raise ValueError(f"a tensor has the name {strange[0]!r:.60}")
    if not tensors:
        raise ValueError("it holds no tensors")
    return tensors


def check_floats(tensors: dict[str, Tensor]) -> None:
    """Raise ValueError for tensors of other numbers than finite floats."""
    for name, value in tensors.items():
        if not value.is_floating_point():
            raise ValueError(f"{name:.60} is {value.dtype}")
        if not value.float().isfinite().all():
            raise ValueError(f"{name:.60} has numbers that are not finite")


def text(about: dict[str, Any], key: str) -> str:
    """Return a name that may stand in a key and in a path. Raises ValueError."""
    value = about.get(key)
    if not isinstance(value, str) or not value.isprintable() or not 0 < len(value) <= 100 or "/" in value:
        raise ValueError(f"{key} is {value!r:.60}, which is no name")
    return value


def whole(about: dict[str, Any], key: str, most: int) -> int:
    """Return a whole number from 1. Raises ValueError."""
    value = about.get(key)
    if type(value) is not int or not 1 <= value <= most:
        raise ValueError(f"{key} is {value!r:.60}, no whole number from 1 to {most}")
    return value
