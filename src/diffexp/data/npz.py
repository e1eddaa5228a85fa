"""Images in numpy's .npz files: arrays `images`, uint8 (N, H, W, C) or (N, H, W), and optionally `labels` and
`captions`.

Or `arr_0` and `arr_1`, as guided-diffusion, DiT and their evaluation suite write samples.
"""

import zipfile
from functools import cached_property
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch

from diffexp.data.captions import AS_WRITTEN, Captions, Texts
from diffexp.data.dataset import DataSet, Splits, held_out
from diffexp.data.memory import InMemory
from diffexp.data.regular import typed_path
from diffexp.errors import DataError
from diffexp.notice import chosen, warn

NAMES = (("images", "labels"), ("arr_0", "arr_1"))  # the second as numpy names them, and guided-diffusion
LAYOUT = (
    "give a .npz with `images`, uint8 (N, H, W, C) or (N, H, W), and optionally `labels`, integers (N,); "
    "or with these as `arr_0` and `arr_1`"
)
CAPTIONS = ("captions", "texts")
CLASSES = 1000  # that a data set may have without names for them, or an image for each
Array = np.ndarray[Any, Any]


def read_npz(path: Path, text: str | None = "none", caption: Captions = AS_WRITTEN) -> InMemory:
    """Read one file as a split. Never unpickles. Raises DataError naming the file and the expected layout.

    Images are (N, H, W, C) where the last axis is 1 or 3; where only the second one is, (N, C, H, W). text:
    the array of the captions, unicode (N,), or (N, K) for up to K of each image; None for one of CAPTIONS if
    it is there, "none" for no captions. Raises ConfigError where ftfy is to clean them and not installed.
    """
    if not path.is_file():
        raise DataError("there is no such file", str(path), LAYOUT)
    try:
        with path.open("rb") as file:
            fault, names, images, labels = _arrays(file, path.stat().st_size)
        fault = fault or _fault(names, images, labels)
        several = None if fault or text == "none" else _captions(path, text, len(images))
    except DataError:
        raise
    except Exception as error:  # BadZipFile, ValueError for pickled objects, KeyError, MemoryError, ...
        raise DataError(f"this file cannot be read: {error}", str(path), LAYOUT) from error
    if fault:
        raise DataError(fault, str(path), LAYOUT)
    pixels = torch.from_numpy(images)
    if pixels.ndim == 3:
        pixels = pixels[:, None]
    elif pixels.shape[3] in (1, 3):
        pixels = pixels.permute(0, 3, 1, 2)
    else:
        warn(f"{path}: {tuple(pixels.shape)} is read as (N, C, H, W)")
    texts = None if several is None else Texts.of(several, caption)
    return InMemory(pixels, None if labels is None else torch.from_numpy(labels.astype(np.int64)), texts)


def _captions(path: Path, text: str | None, count: int) -> list[list[str]] | None:
    """Return the captions of each image, None where there are none. Raises DataError, ValueError."""
    with np.load(path, allow_pickle=False) as archive:
        there = [name for name in CAPTIONS if name in archive.files] if text is None else [text]
        if not there:
            return None
        (name, *_), do = there, "save them by np.array(list_of_str), or type data.text=none"
        if name not in archive.files:
            what = f"there is no `{name[:100]}` in it, but {', '.join(n[:100] for n in archive.files[:10])}"
            raise DataError(what, str(path), "type the name of an array of captions, or data.text=none")
        try:
            array = archive[name]
        except ValueError as error:  # pickled objects
            raise DataError(f"`{name}` cannot be read: {error}", str(path), do) from error
    if not isinstance(array, np.ndarray) or array.dtype.kind != "U" or array.ndim not in (1, 2):
        raise DataError(f"`{name}` is {getattr(array, 'dtype', 'no array')}, not text", str(path), do)
    if len(array) != count or array.size == 0:
        raise DataError(f"`{name}` has shape {array.shape}, for {count} images", str(path), do)
    rows = array.reshape(count, -1).tolist()
    "".join(part for row in rows for part in row).encode()  # half a pair of surrogates is no text
    return rows


def _arrays(file: IO[bytes], size: int) -> tuple[str, tuple[str, str], Any, Any]:
    """Return what is wrong, the names of the arrays, images, and labels or None."""
    names = NAMES[0]
    if not zipfile.is_zipfile(file):
        return "this is not a .npz file, or it is cut short", names, None, None
    with zipfile.ZipFile(file) as archive:
        unpacked = sum(part.file_size for part in archive.infolist())
    if unpacked > 1 << 30 and unpacked > 300 * size:
        return f"this file of {size:,} bytes unpacks to {unpacked:,}", names, None, None
    file.seek(0)
    with np.load(file, allow_pickle=False) as archive:
        names = next((pair for pair in NAMES if pair[0] in archive.files), None)
        if names is None:
            shown = ", ".join(name[:100] for name in archive.files[:10])
            return f"there are no `images` in it, but {shown or 'nothing'}", NAMES[0], None, None
        labels = archive[names[1]] if names[1] in archive.files else None
        return "", names, archive[names[0]], labels


def _fault(names: tuple[str, str], images: Array | None, labels: Array | None) -> str:
    if not isinstance(images, np.ndarray):
        return f"`{names[0]}` is no array"
    if images.dtype != np.uint8:
        return f"`{names[0]}` is {images.dtype}, not uint8"
    if images.ndim not in (3, 4) or 0 in images.shape:
        return f"`{names[0]}` has shape {images.shape}"
    if images.ndim == 4 and not {1, 3}.intersection((images.shape[1], images.shape[3])):
        return f"`{names[0]}` has shape {images.shape}, whose last axis is not 1 or 3 channels"
    return "" if labels is None else _label_fault(names[1], labels, len(images))


def _label_fault(name: str, labels: Array, count: int) -> str:
    if not isinstance(labels, np.ndarray):
        return f"`{name}` is no array"
    if labels.ndim == 2 and len(labels) == count and labels.shape[1] > 1:
        return f"`{name}` has shape {labels.shape}, as one-hot labels have; its argmax(1) are integers"
    if labels.shape != (count,) or labels.dtype.kind not in "iu":
        return f"`{name}` is {labels.dtype} {labels.shape}, not integers ({count},)"
    if labels.min() < 0:
        return f"`{name}` has negative numbers"
    most = int(labels.max())
    return f"`{name}` has {most}, which is no class" if most > np.iinfo(np.int64).max else ""


class Npz(DataSet):
    """Images of .npz files, in memory.

    path: the training images; test_path: the test images, if they have a file of their own.
    Splits, by a fixed permutation: with test_path all of `path` is train, all of `test_path` is test, and a
    fifth of that val; without it `path` is 90 % train, 5 % val, 5 % test (of fewer than 3, all are in each).
    classes: the names of the labels 0, 1, ...; by default their numbers, of which there may be a thousand, or
    as many as images. text: the array of the captions, by default `captions` or `texts` where there is one;
    "none" for no captions. caption: what is done to them. Raises DataError when read.
    """

    def __init__(
        self,
        path: str,
        test_path: str | None = None,
        classes: tuple[str, ...] | None = None,
        text: str | None = None,
        caption: Captions = AS_WRITTEN,
    ) -> None:
        self.path = typed_path(path, "data.path")
        self.test_path = None if test_path is None else typed_path(test_path, "data.test_path")
        self.name = self.path.stem
        self._names = None if classes is None else tuple(classes)
        self.text, self.caption = text, caption

    @property
    def shape(self) -> tuple[int, int, int]:
        channels, height, width = self._files[0].images.shape[1:]
        return channels, height, width

    @property
    def classes(self) -> tuple[str, ...] | None:
        count = self._labels(self._files)
        return (self._names or tuple(str(c) for c in range(count))) if count else None

    def _labels(self, files: list[InMemory]) -> int:
        """Return the largest label and one; 0 without labels. Raises DataError for too many classes."""
        count = 1 + max((int(part.labels.max()) for part in files if part.labels is not None), default=-1)
        if self._names is not None and len(self._names) < count:
            do = f"give {count} names, or data.classes=null"
            raise DataError(f"labels up to {count - 1}, but {len(self._names)} names", "data.classes", do)
        images = sum(map(len, files))
        if self._names is None and count > max(images, CLASSES):
            what = f"labels up to {count - 1:,}, and {images:,} images: that many classes there cannot be"
            raise DataError(what, str(self.path), "number them 0, 1, ..., or name them all by data.classes")
        return count

    @cached_property
    def _files(self) -> list[InMemory]:
        paths = [path for path in (self.path, self.test_path) if path is not None]
        files = [read_npz(path, self.text, self.caption) for path in paths]
        if len(files) == 2 and files[0].images.shape[1:] != files[1].images.shape[1:]:
            raise DataError("training and test images differ in size", str(self.test_path))
        if len(files) == 2 and (files[0].labels is None) != (files[1].labels is None):
            raise DataError("only one of the two files has labels", str(self.test_path), LAYOUT)
        if len(files) == 2 and (files[0].captions is None) != (files[1].captions is None):
            raise DataError(
                "only one of the two files has captions", str(self.test_path), "type data.text=none"
            )
        self._labels(files)
        return files

    def read(self) -> Splits:
        whole = self._files[0]
        if self.test_path is not None:
            test = self._files[1]
            return Splits(whole, test.select(held_out("npz", len(test), max(1, len(test) // 5))[1]), test)
        if len(whole) < 3:
            chosen("the same images for training, validation and test, for there are fewer than three")
            return Splits(whole, whole, whole)
        part = len(whole) // 20 or 1
        return Splits(*(whole.select(index) for index in held_out("npz", len(whole), part, part)))
