"""Public data sets by torchvision: read what is in the folder, else download, else say what is missing."""

import contextlib
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch

from diffexp.data.memory import InMemory
from diffexp.data.one_at_a_time import one_at_a_time
from diffexp.errors import DataError

WAIT = 10  # seconds that a host has to answer


@contextlib.contextmanager
def _impatient() -> Iterator[None]:
    """Downloads give up soon, and write to stderr, for stdout is for results."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(WAIT)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        socket.setdefaulttimeout(before)


def read_public(kind: Callable[..., Any], root: Path, layout: str) -> tuple[InMemory, InMemory]:
    """The official train and test set, by the torchvision class `kind`; layout: what `root` is to hold.

    Raises DataError where the files are neither here nor to be had, or are damaged.
    """
    remedy = f"put {layout} there, or set data_root (or DIFFEXP_DATA) to the folder that holds them"
    try:
        # or another process would find half a file
        with one_at_a_time(root / f".{kind.__name__}.lock"), _impatient():
            parts = [kind(str(root), train=train, download=True) for train in (True, False)]
    except Exception as error:  # URLError, RuntimeError, AssertionError, ValueError, EOFError, ...
        absent = isinstance(error, URLError) or "downloading" in str(error)
        what = "is not here, and not to be downloaded" if absent else "cannot be read"
        reason = " ".join(str(error).split())
        raise DataError(f"{kind.__name__} {what}: {reason}", str(root), remedy) from error
    train, test = (_in_memory(part) for part in parts)
    return train, test


def _in_memory(part: Any) -> InMemory:
    images = torch.as_tensor(part.data)
    images = images[:, None] if images.ndim == 3 else images.permute(0, 3, 1, 2)
    return InMemory(images, torch.as_tensor(part.targets))
