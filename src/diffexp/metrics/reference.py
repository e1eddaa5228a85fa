"""Statistics of real images, computed once and kept in a cache.

A file's name is the sha256 of all that its contents depend on: the images (fingerprint), split, extractor,
its weights, and the version of this code. So a stale file is never read, and any file may be deleted.
A damaged file is noticed by its digest (cache.py).
"""

import hashlib
import logging
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

import torch
from rich.console import Console
from rich.progress import TextColumn
from torch import Tensor

from diffexp.data.batch import Batch
from diffexp.data.dataset import DataSet
from diffexp.data.npz import read_npz
from diffexp.errors import DataError
from diffexp.metrics.cache import cached as cached
from diffexp.metrics.extractor import Extractor, extract, sha256_of
from diffexp.metrics.statistics import Statistics
from diffexp.metrics.statistics_file import has_images
from diffexp.metrics.statistics_file import read_statistics as read_statistics
from diffexp.progress import bar
from diffexp.randomness import generator

CACHE = "~/.cache/diffexp/stats"
VERSION = 2  # of what the files hold; raise it when the same name would mean other numbers
BATCH = 128
Split = Literal["train", "val", "test"]
_log = logging.getLogger(__name__)


def whole(data: DataSet, split: Split, extractor: Extractor, cache: str | None) -> Statistics:
    """Return the statistics of a split of real images."""

    def make() -> dict[str, Tensor]:
        count = len(data.split(split))
        return _statistics(data.batches(split, BATCH), count, f"{data.name} {split}", extractor).tensors()

    kept = cached(cache, key(data, split, extractor), make)
    return Statistics.of(**{name: tensor.to(_place(extractor)) for name, tensor in kept.items()})


def given(path: str, extractor: Extractor, cache: str | None) -> Statistics:
    """Return the statistics of a .npz: its mu and sigma, or those of the images that it holds. Raises
    DataError.
    """
    if not has_images(path):
        return read_statistics(path, extractor.dim)
    file = Path(path).expanduser()

    def make() -> dict[str, Tensor]:
        images = read_npz(file)
        batches = (images.batch(index) for index in torch.arange(len(images)).split(BATCH))
        return _statistics(batches, len(images), file.name, extractor).tensors()

    words = (VERSION, sha256_of(file), extractor.name, extractor.sha256)
    kept = cached(cache, hashlib.sha256("\n".join(map(str, words)).encode()).hexdigest(), make)
    return Statistics.of(**{name: tensor.to(_place(extractor)) for name, tensor in kept.items()})


def check_given(path: str, extractor: Extractor) -> None:
    """Raise DataError for a .npz that has neither statistics of this extractor nor images that it takes."""
    if not has_images(path):
        read_statistics(path, extractor.dim)
        return
    images = read_npz(Path(path).expanduser())
    if len(images) < 2:
        raise DataError("there are fewer than 2 images in it", path, "give a .npz of more")
    extractor.check(tuple(images.batch(torch.arange(1)).image.shape[1:]))  # type: ignore[arg-type]


def part(data: DataSet, split: Split, extractor: Extractor, n: int) -> Statistics:
    """Return the statistics of n random images of the split, the same ones each time."""
    images = data.split(split)
    chosen = torch.randperm(len(images), generator=generator(0, "floor"))[:n].sort().values
    batches = (images.batch(index) for index in chosen.split(BATCH))
    return _statistics(batches, n, f"{n} of {data.name} {split}", extractor)


def key(data: DataSet, split: Split, extractor: Extractor, *more: object) -> str:
    """Return the name in the cache: it changes when the images, the extractor or the question do."""
    words = (VERSION, data.fingerprint(split), split, extractor.name, extractor.sha256, *more)
    return hashlib.sha256("\n".join(map(str, words)).encode()).hexdigest()


def _place(extractor: Extractor) -> str:
    return "cuda" if extractor.device.type == "cuda" else "cpu"  # others have no float64


def _statistics(batches: Iterable[Batch], count: int, what: str, extractor: Extractor) -> Statistics:
    statistics = Statistics(extractor.dim, _place(extractor))
    for batch in _shown(batches, count, f"{extractor.name} of {what}"):
        statistics.update(extract(extractor, batch.image))
    return statistics


def _shown(batches: Iterable[Batch], count: int, text: str) -> Iterator[Batch]:
    _log.info("extracting %s, %d images", text, count)
    console = Console(stderr=True)
    column = TextColumn("{task.description}", markup=False)
    with bar(column, console=console, show=console.is_terminal) as progress:
        task = progress.add_task(text, total=count)
        for batch in batches:
            yield batch
            progress.advance(task, len(batch.image))
