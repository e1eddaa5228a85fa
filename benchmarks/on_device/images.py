"""The images of part 3, from what can be carried to a machine that reaches no network.

A .npz with `images`, uint8 (N, 32, 32, 3), and `labels`; a folder with cifar-10-batches-py; or a folder of
strips, train_0.webp, train_1.webp, ... (or .png), each of equally many square images one above another, and
labels.npz with `train`, of all strips: half the size of the .npz, and any strips may be missing.
"""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from diffexp.data import CIFAR10, InMemory
from diffexp.data.dataset import DataSet, Splits
from diffexp.data.npz import read_npz
from diffexp.errors import DataError


class Given(DataSet):
    """These images, all of which are trained on and are the reference of FID, as the papers do it."""

    def __init__(self, images: InMemory, name: str) -> None:
        self.images, self.name = images, name

    @property
    def shape(self) -> tuple[int, int, int]:
        channels, height, width = self.images.images.shape[1:]
        return channels, height, width

    @property
    def classes(self) -> tuple[str, ...] | None:
        labels = self.images.labels
        return None if labels is None else tuple(map(str, range(int(labels.max()) + 1)))

    def read(self) -> Splits:
        some = self.images.select(torch.arange(min(len(self.images), 100)))
        return Splits(self.images, some, some)


def read(path: Path) -> Given:
    """Return the images of a path, in one of the layouts above. Raises DataError."""
    if path.suffix == ".npz":
        return Given(read_npz(path), path.stem)
    if (path / "cifar-10-batches-py").is_dir():
        images = CIFAR10(str(path), download=False).split("train")
        assert isinstance(images, InMemory)
        return Given(images, "cifar10")
    strips = sorted([*path.glob("train_*.webp"), *path.glob("train_*.png")])
    if not strips or not (path / "labels.npz").is_file():
        do = "give a .npz, a folder with cifar-10-batches-py, or one of train_*.webp and labels.npz"
        raise DataError("there are no images in a layout that is known", str(path), do)
    return Given(_strips(strips, np.load(path / "labels.npz")["train"]), path.name)


def _strips(files: list[Path], known: np.ndarray) -> InMemory:
    images, labels = list[Tensor](), list[Tensor]()
    for file in files:
        with Image.open(file) as image:
            pixels = torch.from_numpy(np.array(image.convert("RGB")))
        count = len(pixels) // pixels.shape[1]
        start = count * int(file.stem.removeprefix("train_"))
        if start + count > len(known):
            raise DataError("there are no labels for it", str(file), "give those of all strips in labels.npz")
        images.append(pixels.unflatten(0, (count, -1)).permute(0, 3, 1, 2))
        labels.append(torch.from_numpy(known[start : start + count].astype(np.int64)))
    return InMemory(torch.cat(images), torch.cat(labels))


def made_up(count: int, size: int) -> Given:
    """Return images that show that all of it runs: noise on a level that is that of the class."""
    draw = torch.Generator().manual_seed(0)
    labels = torch.arange(count) % 2
    images = torch.randint(64, 128, (count, 3, size, size), generator=draw) + 64 * labels[:, None, None, None]
    return Given(InMemory(images.to(torch.uint8), labels), "made_up")
