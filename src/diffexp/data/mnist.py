"""MNIST, and Fashion-MNIST in the same files' format."""

from pathlib import Path

from diffexp.data.dataset import DataSet, Splits, held_out
from diffexp.data.digits import DIGITS
from diffexp.data.public import read_public


class MNIST(DataSet):
    """70,000 handwritten digits, grey 28x28 (LeCun et al. 1998); root/MNIST/raw holds the four idx files.

    Splits: the official 60,000 as 55,000 train + 5,000 val by a fixed permutation, the official 10,000 test.
    """

    name = "mnist"
    source = "MNIST"  # torchvision's class, and its folder
    labels = DIGITS

    def __init__(self, root: str) -> None:
        self.root = Path(root).expanduser()

    @property
    def shape(self) -> tuple[int, int, int]:
        return 1, 28, 28

    @property
    def classes(self) -> tuple[str, ...]:
        return self.labels

    def read(self) -> Splits:
        from torchvision import datasets

        files = (
            "train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte, t10k-labels-idx1-ubyte"
        )
        layout = f"{self.source}/raw/ with {files} (or the same as .gz)"
        official, test = read_public(getattr(datasets, self.source), self.root, layout)
        train, val = held_out(self.name, len(official), 5_000)
        return Splits(official.select(train), official.select(val), test)


class FashionMNIST(MNIST):
    """70,000 pictures of clothes, grey 28x28 (Xiao et al. 2017); splits and files as those of MNIST."""

    name = "fashion_mnist"
    source = "FashionMNIST"
    labels = (
        "T-shirt",
        "trouser",
        "pullover",
        "dress",
        "coat",
        "sandal",
        "shirt",
        "sneaker",
        "bag",
        "ankle boot",
    )
