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
from diffexp.errors import DataError
from diffexp.locks import one_at_a_time

WAIT = 10  # seconds that a host has to answer


@contextlib.contextmanager
def _impatient() -> Iterator[None]:
    """Let downloads give up soon, and write to stderr, for stdout is for results."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(WAIT)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        socket.setdefaulttimeout(before)


def read_public(
    kind: Callable[..., Any],
    root: Path,
    layout: str,
    shape: tuple[int, int, int],
    classes: int,
    download: bool = True,
) -> tuple[InMemory, InMemory]:
    """Return the official train and test set, by the torchvision class `kind`; layout: what `root` is to
    hold.

    shape: (C, H, W) of the images; classes: how many there are. Without `download` nothing is written.
    Raises DataError where the files are neither here nor to be had, or are damaged.
    """
    try:
        if not download:
            return _read(kind, root, shape, classes)
        # or another process would find half a file
        with one_at_a_time(root / f".{kind.__name__}.lock"), _impatient():
            try:
                return _read(kind, root, shape, classes)
            except Exception:  # as below
                _check_links(kind, root)
            return _read(kind, root, shape, classes, download=True)
    except DataError:
        raise
    except Exception as error:  # URLError, RuntimeError, AssertionError, ValueError, EOFError, ...
        reason = " ".join(str(error).split())
        if not download and "not found" in reason:
            what, reason = "is not here, and was not to be downloaded", "data.download=false"
        elif isinstance(error, URLError) or "downloading" in reason:
            what = "is not here, and not to be downloaded"
        else:
            what = "cannot be read"
        remedy = f"put {layout} there, or set data_root (or DIFFEXP_DATA) to the folder that holds them"
        raise DataError(f"{kind.__name__} {what}: {reason}", str(root), remedy) from error


def _read(
    kind: Callable[..., Any],
    root: Path,
    shape: tuple[int, int, int],
    classes: int,
    download: bool = False,
) -> tuple[InMemory, InMemory]:
    train, test = (
        _in_memory(kind(str(root), train=train, download=download), shape, classes) for train in (True, False)
    )
    return train, test


def _check_links(kind: Callable[..., Any], root: Path) -> None:
    """Raise DataError where a download would be written through a link, or wait for a pipe."""
    files = list(root.glob(getattr(kind, "base_folder", f"{kind.__name__}/raw") + "/*"))
    if archive := getattr(kind, "filename", ""):
        files.append(root / archive)
    for file in files:
        if file.is_symlink() or (file.exists() and not file.is_file()):
            what = f"this is a link or no file, and {kind.__name__} is not downloaded to it"
            raise DataError(what, str(file), "remove it, or put the file there")


def _in_memory(part: Any, shape: tuple[int, int, int], classes: int) -> InMemory:
    """Make a split. Raises ValueError where a file holds something else, as one that is damaged may."""
    images, labels = torch.as_tensor(part.data), torch.as_tensor(part.targets)
    images = images[:, None] if images.ndim == 3 else images.permute(0, 3, 1, 2)
    if images.dtype != torch.uint8 or tuple(images.shape[1:]) != shape:
        raise ValueError(f"it holds {images.dtype} {tuple(images.shape)}, not uint8 (N, C, H, W) of {shape}")
    if labels.shape != images.shape[:1] or not ((labels >= 0) & (labels < classes)).all():
        raise ValueError(f"its labels are not {len(images)} of the numbers 0 to {classes - 1}")
    return InMemory(images, labels)
