"""Images that are drawn here, with captions, and a metric that looks whether they show what was asked for."""

import torch
from torch import Tensor

from diffexp.data import Batch, DataSet, InMemory, Splits
from diffexp.data.dataset import held_out
from diffexp.errors import ConfigError
from diffexp.metrics import Card, Extractor
from diffexp.metrics.distributed import summed

SIDES = ("left", "right", "top", "bottom")


def half(side: str, height: int, width: int) -> Tensor:
    """Where the image is bright, bool (H, W)."""
    y, x = torch.arange(height)[:, None] < height // 2, torch.arange(width) < width // 2
    return {"left": x, "right": ~x, "top": y, "bottom": ~y}[side].expand(height, width)


class Halves(DataSet):
    """48 grey images, of which one half is bright."""

    name = "halves"

    def __init__(self, height: int = 8, width: int = 8) -> None:
        self.size = height, width

    @property
    def shape(self) -> tuple[int, int, int]:
        return 1, *self.size

    @property
    def classes(self) -> tuple[str, ...]:
        return SIDES

    def read(self) -> Splits:
        label = torch.arange(48) % 4
        bright = torch.stack([half(SIDES[i], *self.size) for i in label])[:, None]
        dark = torch.randint(0, 100, bright.shape, generator=torch.Generator().manual_seed(0))
        whole = InMemory((dark + 150 * bright).byte(), label, [f"a bright {SIDES[i]} half" for i in label])
        return Splits(*(whole.select(some) for some in held_out(self.name, 48, 8, 8)))


class HalfShown:
    """Key half_shown: the share of images that are brighter where their caption, or class, says."""

    def check(self, data: DataSet, extractor: Extractor | None) -> None:
        if data.split("val").texts is None:
            raise ConfigError(f"{data.name} has no captions", "metrics", "type metrics=none")

    def prepare(self, data: DataSet, extractor: Extractor | None, n: int) -> None:
        self.reset()

    def update(self, batch: Batch, features: Tensor | None) -> None:
        sides = [SIDES[i] for i in batch.label] if batch.label is not None else []
        if batch.text is not None:
            sides = [text.split()[2] for text in batch.text]
        for image, side in zip(batch.image.float(), sides, strict=bool(sides)):
            there = half(side, *image.shape[1:])
            self.counts += torch.tensor([image[:, there].mean() > image[:, ~there].mean(), 1])

    def compute(self) -> dict[str, float]:
        self.right, self.n = summed(self.counts)[0].tolist()  # over all ranks
        return {"half_shown": self.right / self.n} if self.n else {}

    def card(self) -> Card:
        return {"n": self.n}

    def reset(self) -> None:
        self.counts = torch.zeros(2, dtype=torch.int64)
