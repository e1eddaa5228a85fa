"""A cache of tensors that are made once and kept in a file, which holds their digest.

The digest is of the name of the file and of all that it holds, so a flipped bit, another file under this
name and missing tensors are noticed, and a damaged file is made again.
"""

import hashlib
import logging
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from diffexp.files import replacing
from diffexp.locks import one_at_a_time
from diffexp.notice import warn

_log = logging.getLogger(__name__)


def cached(folder: str | None, key: str, make: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
    """Return the tensors of `make`, from the file that has them or made and written. No folder: made each
    time. A file that is damaged or cannot be written is reported in the log, and costs time.

    Of several processes that want them one makes them, and the others wait.
    """
    if folder is None:
        return make()
    file = Path(folder).expanduser() / f"{key}.safetensors"
    with one_at_a_time(file.with_suffix(".lock")):
        if (kept := _read(file, key)) is not None:
            return kept
        tensors = {name: tensor.cpu() for name, tensor in make().items()}
        try:
            with replacing(file) as part:
                save_file(tensors, part, {"sha256": _digest(key, tensors)})
        except (OSError, SafetensorError) as error:
            _log.warning("not kept for the next run: %s (%s)", file, error)
        return tensors


def _read(file: Path, key: str) -> dict[str, Tensor] | None:
    """Read the tensors; None for no such file, and for one that is not as it was written."""
    try:
        if not file.is_file():
            return None
        with safe_open(file, "pt") as opened:
            sha256 = (opened.metadata() or {}).get("sha256")
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        why = "its content is not that of its digest" if sha256 != _digest(key, tensors) else ""
    except Exception as error:  # of a foreign file: no common type
        tensors, why = {}, str(error) or type(error).__name__
    if not why:
        return tensors
    warn(f"made again, for the file is damaged: {file} ({why})")
    return None


def _digest(key: str, tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256(key.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
