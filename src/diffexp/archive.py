"""Judge whether a file of torch.save may be read: what it names, what it unpacks to, whether it is whole.

`torch.load(weights_only=True)` runs no code, but a small file may still ask it for all memory: by parts that
are compressed (torch.save never compresses), by a class that takes a size (torch.Tensor, bytearray), by a
tensor of more elements than its storage has.
"""

import pickletools
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeGuard

from diffexp.errors import DataError

MOST_VALUES, DEEPEST = 500_000, 60
EXPANDED = 1 << 28  # bytes of tensors that repeat one number: some files have layers that they lack as such
_NAMED = {  # besides the storages and types of torch
    "collections OrderedDict",
    "torch._utils _rebuild_tensor_v2",
    "torch._utils _rebuild_parameter",
    "torch Size",
    "torch device",
    "_codecs encode",
    "builtins set",
    "__builtin__ set",
}
_TYPES = ("Storage", "8", "16", "32", "64", "128", "bool")
DO = "use another checkpoint; files that hold code are refused"


def judge_archive(path: Path, whole: bool) -> None:
    """Raise DataError for a file that torch.load must not be given. whole: its digest has been verified."""
    try:
        with zipfile.ZipFile(path) as file:
            fault = _fault(file, path.stat().st_size) or ("" if whole else _damage(file))
    except Exception as error:  # the ways in which an archive can be damaged have no common type
        raise DataError(f"not a readable checkpoint: {error}", str(path), DO) from error
    if fault:
        raise DataError(f"not a readable checkpoint: {fault}", str(path), DO)


def _fault(file: zipfile.ZipFile, size: int) -> str:
    parts = file.infolist()
    if any(part.compress_type != zipfile.ZIP_STORED for part in parts):
        return "its parts are compressed, which torch.save never does"
    if sum(part.file_size for part in parts) > size:
        return f"its parts are larger than the file of {size:,} bytes"
    if len({part.filename for part in parts}) < len(parts):
        return "two of its parts have one name"
    pickles = [part for part in parts if part.filename.endswith(".pkl")]
    if len(pickles) != 1:
        return f"it has {len(pickles)} parts named .pkl, not 1"
    for name in _names(file.read(pickles[0])):
        if not (name in _NAMED or (name.startswith("torch ") and name.endswith(_TYPES))):
            return f"it names {name.replace(' ', '.')}"
    return ""


def _names(pickled: bytes) -> Iterator[str]:
    """Yield the classes and functions that a pickle names. Raises ValueError for one that is cut short."""
    for code, value, _ in pickletools.genops(pickled):
        if code.name in ("GLOBAL", "INST"):
            yield str(value)
        elif code.name in ("STACK_GLOBAL", "EXT1", "EXT2", "EXT4"):  # torch.save uses none of them
            yield code.name


def _damage(file: zipfile.ZipFile) -> str:
    bad = file.testzip()
    return f"{bad} is damaged" if bad else ""


def judge_content(checkpoint: object, path: Path) -> None:
    """Raise DataError for what stands for more than the file holds, or is nested without end."""
    if fault := _oversize(checkpoint, max(EXPANDED, path.stat().st_size)):
        raise DataError(f"not a readable checkpoint: {fault}", str(path), DO)


def _oversize(whole: object, most: int) -> str:
    """Say why a checkpoint stands for too much, "" where it does not; most: bytes that tensors may have
    beyond their storages.
    """
    import torch

    todo, count, promised = [(whole, 0)], 0, 0
    while todo:
        value, depth = todo.pop()
        count += 1
        if count > MOST_VALUES or depth > DEEPEST:
            return "it holds too many values, or is nested too deeply"
        if isinstance(value, torch.Tensor):
            if value.layout != torch.strided or value.is_meta or value.is_quantized:
                return "it holds a tensor that is no plain one"
            size, there = value.numel() * value.element_size(), value.untyped_storage().nbytes()
            promised += max(0, size - there)
            if promised > most:
                return f"a tensor of {size:,} bytes is made of {there:,}"
        elif isinstance(value, Mapping):
            todo += [(part, depth + 1) for pair in value.items() for part in pair]
        elif isinstance(value, (list, tuple, set)):
            todo += [(part, depth + 1) for part in value]
    return ""


PLAIN = (str, int, float, bool, type(None))


def plain(value: Any, where: str, path: Path, depth: int = 0) -> Any:
    """Return dicts, lists and plain values as they are, tuples as lists. Raises DataError for others."""
    if depth > DEEPEST:
        raise DataError(f"{where[:100]}... is nested too deeply", str(path), DO)
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {key: plain(part, f"{where}.{key}", path, depth + 1) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(part, f"{where}[{i}]", path, depth + 1) for i, part in enumerate(value)]
    if not isinstance(value, PLAIN):
        raise DataError(f"{where} is {type(value).__name__}, not a plain value", str(path), DO)
    return value


def is_dict(value: object) -> TypeGuard[dict[Any, Any]]:
    """Return whether a value of a file is a dict, of whatever it may be."""
    return isinstance(value, dict)


def is_list(value: object) -> TypeGuard[list[Any]]:
    """Return whether a value of a file is a list, of whatever it may be."""
    return isinstance(value, list)


def is_mapping(value: object) -> TypeGuard[Mapping[Any, Any]]:
    """Return whether a value of a file is a mapping, of whatever it may be."""
    return isinstance(value, Mapping)
