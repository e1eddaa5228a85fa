"""The 8x8 digits of scikit-learn: real, in the package, so nothing is downloaded."""

import torch

from diffexp.data.dataset import DataSet, Splits
from diffexp.data.memory import InMemory
from diffexp.randomness import keys

DIGITS = tuple("0123456789")


class Digits(DataSet):
    """1,797 handwritten digits, grey 8x8, 0..16 scaled to 0..255 (UCI, Alpaydin & Kaynak 1998).

    Splits: 1,437 train, 180 val, 180 test, each with the same share of every class, by a fixed permutation.
    """

    name = "digits"

    @property
    def shape(self) -> tuple[int, int, int]:
        return 1, 8, 8

    @property
    def classes(self) -> tuple[str, ...]:
        return DIGITS

    def read(self) -> Splits:
        from sklearn.datasets import load_digits

        pixels, target = load_digits(return_X_y=True)
        labels = torch.from_numpy(target).long()
        images = (torch.from_numpy(pixels) * 255 / 16).round().to(torch.uint8).view(-1, *self.shape)
        whole, order = InMemory(images, labels), _stratified(labels)
        return Splits(*(whole.select(part.sort().values) for part in order.split([1437, 180, 180])))


def _stratified(labels: torch.Tensor) -> torch.Tensor:
    """Return a permutation in which every run of images has each class in its share."""
    draw = keys(0, "split", "digits", index=torch.arange(len(labels)))
    place = torch.empty(len(labels), dtype=torch.float64)
    for c in labels.unique():
        mine = (labels == c).nonzero().flatten()
        place[mine[draw[mine].argsort()]] = (torch.arange(len(mine), dtype=torch.float64) + 0.5) / len(mine)
    return place.argsort(stable=True)
