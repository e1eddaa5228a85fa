"""CIFAR-10, split as the papers on diffusion models use it."""

from pathlib import Path

from diffexp.data.dataset import DataSet, Splits, held_out
from diffexp.data.memory import InMemory
from diffexp.data.npz import read_npz
from diffexp.data.public import read_public
from diffexp.data.regular import typed_path
from diffexp.errors import DataError

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
VAL = 2_000


class CIFAR10(DataSet):
    """60,000 photographs, RGB 32x32 (Krizhevsky 2009).

    Splits: train is the whole official 50,000, for the papers train on all of it and take all of it as the
    reference of FID; test is the whole official 10,000, on which they give bits/dim; val is 2,000 of those,
    by a fixed permutation. Val is therefore a part of test: it shows the loss of unseen images, and nothing
    may be chosen by it whose test figure is then reported.

    root holds cifar10_train.npz and cifar10_test.npz (see Npz), or torchvision's cifar-10-batches-py.
    download: false reads what is there, and writes nothing.
    """

    name = "cifar10"

    def __init__(self, root: str, download: bool = True) -> None:
        self.root, self.download = typed_path(root, "data_root"), download

    @property
    def shape(self) -> tuple[int, int, int]:
        return 3, 32, 32

    @property
    def classes(self) -> tuple[str, ...]:
        return CLASSES

    def read(self) -> Splits:
        train, test = self._official()
        return Splits(train, test.select(held_out(self.name, len(test), VAL)[1]), test)

    def _official(self) -> tuple[InMemory, InMemory]:
        train, test = (self.root / f"cifar10_{part}.npz" for part in ("train", "test"))
        if train.is_file() and test.is_file():
            return self._checked(train, 50_000), self._checked(test, 10_000)
        from torchvision.datasets import CIFAR10 as Official

        layout = "cifar10_train.npz and cifar10_test.npz, or cifar-10-batches-py/"
        return read_public(Official, self.root, layout, self.shape, len(CLASSES), self.download)

    def _checked(self, file: Path, count: int) -> InMemory:
        part = read_npz(file)
        if part.images.shape != (count, *self.shape) or part.labels is None:
            what = f"this is not CIFAR-10: {tuple(part.images.shape)}, labels: {part.labels is not None}"
            raise DataError(what, str(file), f"it needs {count} images of 32 x 32 x 3, and labels")
        if int(part.labels.max()) >= len(CLASSES):
            what = f"this is not CIFAR-10: labels up to {int(part.labels.max())}"
            raise DataError(what, str(file), "its labels are 0 to 9")
        return part
