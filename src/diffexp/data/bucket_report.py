"""What is in each bucket: how many pictures, how much of them is cut off, how many are enlarged."""

from dataclasses import dataclass

from torch import Tensor

from diffexp.data.buckets import Size
from diffexp.data.dataset import DataSet


@dataclass(frozen=True)
class BucketRow:
    """A size (H, W) of which there are pictures: how many in each split; cut: the mean share of the training
    pictures that is cut off; enlarged: how many of these; images: some of them, uint8 (C, H, W) each.
    """

    size: Size
    train: int
    val: int
    test: int
    cut: float
    enlarged: int
    images: list[Tensor]

    @property
    def name(self) -> str:
        return f"{self.size[0]}x{self.size[1]}"

    @property
    def cells(self) -> tuple[str, int, int, int, str, int]:
        return self.name, self.train, self.val, self.test, f"{100 * self.cut:.1f} %", self.enlarged


HEAD = ["height x width", "train", "val", "test", "cut off", "enlarged"]


def bucket_rows(data: DataSet, pictures: int = 6) -> list[BucketRow]:
    """Return a row for each size of which there are pictures, the highest first; [] without buckets."""
    train, val, test = (data.bucketed(name) for name in ("train", "val", "test"))
    if train is None or val is None or test is None:
        return []
    rows = list[BucketRow]()
    counts = zip(train.sorted.counts, val.sorted.counts, test.sorted.counts, strict=True)
    for b, (size, each) in enumerate(zip(train.sorted.sizes, counts, strict=True)):
        own = (train.bucket == b).nonzero().flatten()
        cut, enlarged = train.sorted.cut[own], train.sorted.enlarged[own]
        shown = [*train.batch(own[:pictures]).image] if len(own) else []
        if any(each):
            mean = float(cut.mean()) if len(own) else 0.0
            rows.append(BucketRow(size, *each, mean, int(enlarged.sum()), shown))
    return rows
