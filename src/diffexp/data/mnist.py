"""MNIST, and Fashion-MNIST in the same files' format."""

from diffexp.data.dataset import DataSet, Splits, held_out
from diffexp.data.digits import DIGITS
from diffexp.data.public import read_public
from diffexp.data.regular import typed_path
from diffexp.errors import DataError

VAL = 5_000


class MNIST(DataSet):
    """70,000 handwritten digits, grey 28x28 (LeCun et al. 1998); root/MNIST/raw holds the four idx files.

    download: false reads what is in root, and writes nothing there.
    Splits: the official 60,000 as 55,000 train + 5,000 val by a fixed permutation, the official 10,000 test.
    """

    name = "mnist"
    source = "MNIST"  # torchvision's class, and its folder
    labels = DIGITS

    def __init__(self, root: str, download: bool = True) -> None:
        self.root, self.download = typed_path(root, "data_root"), download

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
        layout = f"{self.source}/raw/ with {files}" + " (or the same as .gz)" * self.download
        kind = getattr(datasets, self.source)
        official, test = read_public(kind, self.root, layout, self.shape, len(self.classes), self.download)
        if len(official) <= VAL:
            what = f"{len(official)} training images are too few to take {VAL} for validation"
            raise DataError(what, str(self.root), f"put {layout} there")
        train, val = held_out(self.name, len(official), VAL)
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
