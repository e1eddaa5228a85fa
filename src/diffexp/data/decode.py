"""Files decoded at once, into memory."""

import logging
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diffexp.data.captions import Texts
from diffexp.data.fitted import Fitted
from diffexp.data.memory import InMemory
from diffexp.errors import DataError
from diffexp.notice import chosen

_log = logging.getLogger(__name__)
Load = Callable[[Any], Fitted]


def decoded(
    files: Sequence[Any],
    load: Load,
    shape: tuple[int, int, int],
    labels: Tensor | None,
    texts: Texts | None,
    skip: bool,
    root: Path,
) -> InMemory:
    """Return the images of the files, or of the parts of files, of `shape` each. skip: leave out what cannot
    be decoded, and say so by its path below `root`. Raises DataError naming the file.
    """
    images = torch.empty(len(files), *shape, dtype=torch.uint8)
    sizes = torch.zeros(len(files), 6, dtype=torch.int64)
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # Pillow decodes without the interpreter's lock
        good = list(pool.map(partial(_decode, images, sizes, files, load, skip), range(len(files))))
    kept = torch.tensor(good)
    if kept.all():
        return InMemory(images, labels, texts, sizes)
    bad = [files[i] for i in (~kept).nonzero().flatten().tolist()]
    tell_left_out(bad, len(files), root)
    return InMemory(images, labels, texts, sizes).select(kept.nonzero().flatten())


def tell_left_out(bad: Sequence[Any], count: int, root: Path) -> None:
    """Say which of so many images below `root` cannot be read."""
    _log.warning("%d of %d images of %s left out", len(bad), count, root)
    names = [str(file).removeprefix(f"{root}/") for file in bad[:3]]
    more = f" and {len(bad) - 3:,} more" if len(bad) > 3 else ""
    chosen(f"left out, for they cannot be read (data.broken=skip): {', '.join(names)}{more}")


def _decode(images: Tensor, sizes: Tensor, files: Sequence[Any], load: Load, skip: bool, i: int) -> bool:
    try:
        images[i], told = load(files[i])
        if told is not None:
            sizes[i] = told
    except DataError as error:
        if not skip:
            raise
        _log.warning("left out: %s (%s)", error.where, error.what)
        return False
    return True


def is_readable(file: Path, load: Load) -> bool:
    """Return whether a file can be decoded."""
    try:
        load(file)
    except DataError:
        return False
    return True
