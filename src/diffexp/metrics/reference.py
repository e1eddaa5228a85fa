"""Statistics of real images, computed once and kept in a cache.

A file's name is the sha256 of all that its contents depend on: the images (fingerprint), split, extractor,
its weights, and the version of this code. So a stale file is never read, and any file may be deleted.
"""

import hashlib
import logging
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from diffexp.data.batch import Batch
from diffexp.data.dataset import DataSet
from diffexp.data.one_at_a_time import one_at_a_time
from diffexp.errors import DataError
from diffexp.metrics.extractor import Extractor, extract
from diffexp.metrics.statistics import Statistics
from diffexp.randomness import generator

CACHE = "~/.cache/diffexp/stats"
VERSION = 1  # of what the files hold; raise it when the same name would mean other numbers
BATCH = 128
Split = Literal["train", "val", "test"]
_log = logging.getLogger(__name__)


def whole(data: DataSet, split: Split, extractor: Extractor, cache: str | None) -> Statistics:
    """The statistics of a split of real images."""

    def make() -> dict[str, Tensor]:
        count = len(data.split(split))
        return _statistics(data.batches(split, BATCH), count, f"{data.name} {split}", extractor).tensors()

    kept = cached(cache, key(data, split, extractor), make)
    return Statistics.of(**{name: tensor.to(_place(extractor)) for name, tensor in kept.items()})


def part(data: DataSet, split: Split, extractor: Extractor, n: int) -> Statistics:
    """The statistics of n random images of the split, the same ones each time."""
    images = data.split(split)
    chosen = torch.randperm(len(images), generator=generator(0, "floor"))[:n].sort().values
    batches = (images.batch(index) for index in chosen.split(BATCH))
    return _statistics(batches, n, f"{n} of {data.name} {split}", extractor)


def read_statistics(path: str, dim: int) -> Statistics:
    """From a .npz with mu, (dim,), and sigma, (dim, dim). Raises DataError."""
    file, do = Path(path).expanduser(), "give a .npz with mu and sigma, of the features of the same extractor"
    try:
        with np.load(file, allow_pickle=False) as told:
            mean, covariance = (torch.from_numpy(told[name]).double() for name in ("mu", "sigma"))
            n = torch.tensor(float(told["n"]) if "n" in told.files else 1e6, dtype=torch.float64)
    except Exception as error:  # OSError, KeyError, ValueError for pickles, BadZipFile, ...
        raise DataError(f"these statistics cannot be read: {error}", str(file), do) from error
    if mean.shape != (dim,) or covariance.shape != (dim, dim):
        what = f"mu has shape {tuple(mean.shape)}, and the extractor {dim} features"
        raise DataError(what, str(file), do)
    return Statistics.of(n, n * mean, (n - 1) * covariance + n * torch.outer(mean, mean))


def cached(folder: str | None, key: str, make: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
    """The tensors of `make`, from the file that has them or made and written. No folder: made each time.

    Of several processes that want them one makes them, and the others wait.
    """
    if folder is None:
        return make()
    file = Path(folder).expanduser() / f"{key}.safetensors"
    with one_at_a_time(file.with_suffix(".lock")):
        try:
            if file.is_file():
                return load_file(file)
        except (SafetensorError, OSError) as error:
            _log.warning("made again, for the file is damaged: %s (%s)", file, error)
        tensors = {name: tensor.cpu() for name, tensor in make().items()}
        partial = file.with_suffix(f".{os.getpid()}.tmp")
        try:
            save_file(tensors, partial)
            partial.replace(file)
        except (OSError, SafetensorError) as error:  # a cache that cannot be written costs time, no run
            with suppress(OSError):
                partial.unlink()
            _log.warning("not kept for the next run: %s (%s)", file, error)
        return tensors


def key(data: DataSet, split: Split, extractor: Extractor, *more: object) -> str:
    """The name in the cache: it changes when the images, the extractor or the question do."""
    words = (VERSION, data.fingerprint(split), split, extractor.name, extractor.sha256, *more)
    return hashlib.sha256("\n".join(map(str, words)).encode()).hexdigest()


def _place(extractor: Extractor) -> str:
    return "cuda" if extractor.device.type == "cuda" else "cpu"  # others have no float64


def _statistics(batches: Iterable[Batch], count: int, what: str, extractor: Extractor) -> Statistics:
    statistics = Statistics(extractor.dim, _place(extractor))
    for batch in _shown(batches, count, f"{extractor.name} of {what}"):
        statistics.update(extract(extractor, batch.image))
    return statistics


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed or 0:.0f} images/s")


def _shown(batches: Iterable[Batch], count: int, text: str) -> Iterator[Batch]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(),
    )
    _log.info("extracting %s, %d images", text, count)
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(text, total=count)
        for batch in batches:
            yield batch
            progress.advance(task, len(batch.image))
