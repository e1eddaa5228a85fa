"""Images in numpy's .npz files: arrays `images`, uint8 (N, H, W, C) or (N, H, W), and optionally `labels`."""

import zipfile
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from diffexp.data.dataset import DataSet, Splits, held_out
from diffexp.data.memory import InMemory
from diffexp.errors import DataError

LAYOUT = "give a .npz with `images`, uint8 (N, H, W, C) or (N, H, W), and optionally `labels`, integers (N,)"


def read_npz(path: Path) -> InMemory:
    """One file as a split. Never unpickles. Raises DataError naming the file and the expected layout."""
    if not path.is_file():
        raise DataError("there is no such file", str(path), LAYOUT)
    if not zipfile.is_zipfile(path):
        raise DataError("this is not a .npz file, or it is cut short", str(path), LAYOUT)
    if fault := _bomb(path):
        raise DataError(fault, str(path), LAYOUT)
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            images = file["images"]
            labels = file["labels"] if "labels" in file.files else None
    except Exception as error:  # BadZipFile, ValueError for pickled objects, KeyError, MemoryError, ...
        raise DataError(f"this file cannot be read: {error}", str(path), LAYOUT) from error
    if fault := _fault(images, labels):
        raise DataError(fault, str(path), LAYOUT)
    pixels = torch.from_numpy(images)
    pixels = pixels[:, None] if pixels.ndim == 3 else pixels.permute(0, 3, 1, 2)
    return InMemory(pixels, None if labels is None else torch.from_numpy(labels.astype(np.int64)))


def _bomb(path: Path) -> str:
    """Whether a small file unpacks to gigabytes."""
    with zipfile.ZipFile(path) as file:
        unpacked = sum(part.file_size for part in file.infolist())
    packed = path.stat().st_size
    if unpacked > 1 << 30 and unpacked > 300 * packed:
        return f"this file of {packed:,} bytes unpacks to {unpacked:,}"
    return ""


def _fault(images: np.ndarray[Any, Any], labels: np.ndarray[Any, Any] | None) -> str:
    if images.dtype != np.uint8:
        return f"`images` is {images.dtype}, not uint8"
    if images.ndim not in (3, 4) or 0 in images.shape:
        return f"`images` has shape {images.shape}"
    if images.ndim == 4 and images.shape[3] not in (1, 3):
        return f"`images` has shape {images.shape}, whose last axis is not 1 or 3 channels"
    if labels is None:
        return ""
    if labels.shape != images.shape[:1] or labels.dtype.kind not in "iu":
        return f"`labels` is {labels.dtype} {labels.shape}, not integers ({len(images)},)"
    return "`labels` has negative numbers" if labels.min() < 0 else ""


class Npz(DataSet):
    """Images of .npz files, in memory.

    path: the training images; test_path: the test images, if they have a file of their own.
    Splits, by a fixed permutation: with test_path all of `path` is train, all of `test_path` is test, and a
    fifth of that val; without it `path` is 90 % train, 5 % val, 5 % test.
    classes: the names of the labels 0, 1, ...; by default their numbers. Raises DataError when read.
    """

    def __init__(
        self, path: str, test_path: str | None = None, classes: tuple[str, ...] | None = None
    ) -> None:
        self.path = Path(path).expanduser()
        self.test_path = None if test_path is None else Path(test_path).expanduser()
        self.name = self.path.stem
        self._names = None if classes is None else tuple(classes)

    @property
    def shape(self) -> tuple[int, int, int]:
        channels, height, width = self._files[0].images.shape[1:]
        return channels, height, width

    @property
    def classes(self) -> tuple[str, ...] | None:
        labels = [part.labels for part in self._files if part.labels is not None]
        if not labels:
            return None
        count = 1 + max(int(part.max()) for part in labels)
        if self._names is not None and len(self._names) < count:
            do = f"give {count} names, or data.classes=null"
            raise DataError(f"labels up to {count - 1}, but {len(self._names)} names", "data.classes", do)
        return self._names or tuple(str(c) for c in range(count))

    @cached_property
    def _files(self) -> list[InMemory]:
        files = [read_npz(path) for path in (self.path, self.test_path) if path is not None]
        if len(files) == 2 and files[0].images.shape[1:] != files[1].images.shape[1:]:
            raise DataError("training and test images differ in size", str(self.test_path))
        if len(files) == 2 and (files[0].labels is None) != (files[1].labels is None):
            raise DataError("only one of the two files has labels", str(self.test_path), LAYOUT)
        return files

    def read(self) -> Splits:
        whole = self._files[0]
        if self.test_path is not None:
            test = self._files[1]
            return Splits(whole, test.select(held_out("npz", len(test), max(1, len(test) // 5))[1]), test)
        part = len(whole) // 20 or 1
        if len(whole) < 3:
            raise DataError(f"{len(whole)} images are too few for three splits", str(self.path), LAYOUT)
        return Splits(*(whole.select(index) for index in held_out("npz", len(whole), part, part)))
