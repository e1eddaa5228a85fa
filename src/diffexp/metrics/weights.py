"""Files of weights that a stranger may have written: their content is judged before it is used."""

import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diffexp.archive import judge_archive, judge_content
from diffexp.errors import DataError
from diffexp.files import read_json

_CODE = {"auto_map", "trust_remote_code", "custom_pipelines", "use_kernels", "kernel_config"}
_MOST_LAYERS = 10_000


def at(path: str) -> Path:
    """Return the path that was typed, ~ for the home folder where there is one."""
    try:
        return Path(path).expanduser()
    except RuntimeError:  # no such user
        return Path(path)


def is_file(path: Path) -> bool:
    """Return whether there is a regular file; False as well for a name that no file can have."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def reason(error: Exception) -> str:
    """Return the first line of an error, or its kind where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


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


def check_stored(file: Path) -> None:
    """Raise DataError for an archive that torch.load must not be given; old files of torch.save are none."""
    if zipfile.is_zipfile(file):
        judge_archive(file, whole=False)


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


def check_folder(folder: Path) -> None:
    """Raise DataError for a folder of transformers whose files name code to be run, or models to be fetched.

    Such keys are not obeyed anyway; a folder that has them is not what it is taken for.
    """
    if (folder / "adapter_config.json").exists():
        what = "this changes another model, which transformers would fetch"
        raise DataError(what, str(folder / "adapter_config.json"), "give a folder with the whole model")
    for file in sorted(folder.glob("*config.json")):
        if not is_file(file):
            raise DataError("this is no file", str(file), "give another folder")
        for key, value in _items(read_json(file)):
            code = key in _CODE or (key.endswith("attn_implementation") and "/" in str(value))
            if code and value not in (None, False):
                do = "give a model that transformers itself knows, whose config.json names no code"
                raise DataError(f"{key}={value!s:.80} names code that is not run", str(file), do)
            if key.startswith("num_") and isinstance(value, int) and value > _MOST_LAYERS:
                raise DataError(f"{key}={value} is more than {_MOST_LAYERS}", str(file), "give another model")


def _items(config: Any) -> list[tuple[str, Any]]:
    """Return all keys and values, those of the parts as well."""
    todo, items = [config], list[tuple[str, Any]]()
    while todo:
        part = todo.pop()
        if isinstance(part, dict):
            items += part.items()
            todo += part.values()
        elif isinstance(part, list):
            todo += part
    return items
