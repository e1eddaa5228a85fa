"""Images that are drawn here, with classes and captions."""

import torch
from torch import Tensor

from diffexp.data import DataSet, InMemory, Splits
from diffexp.data.dataset import held_out

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
