"""Whether images show what was asked for."""

import torch
from torch import Tensor

from diffexp.data import Batch, DataSet
from diffexp.errors import ConfigError
from diffexp.metrics import Card, Extractor
from diffexp.metrics.distributed import summed
from plugins.halves import SIDES, half


class HalfShown:
    """Keys half_shown, the share of images that are brighter where their caption, or class, says, and
    half_contrast, by how much on average.
    """

    def check(self, data: DataSet, extractor: Extractor | None) -> None:
        if data.split("val").texts is None:
            raise ConfigError(f"{data.name} has no captions", "metrics", "type metrics=none")

    def prepare(self, data: DataSet, extractor: Extractor | None, n: int) -> None:
        self.reset()

    def update(self, batch: Batch, features: Tensor | None) -> None:
        sides = [] if batch.label is None else [SIDES[i] for i in batch.label]
        if batch.text is not None:
            sides = [text.split()[2] for text in batch.text]
        for image, side in zip(batch.image.double(), sides, strict=bool(sides)):
            there = half(side, *image.shape[1:])
            contrast = float(image[:, there].mean() - image[:, ~there].mean())
            self.sums += torch.tensor([contrast > 0, contrast, 1])

    def compute(self) -> dict[str, float]:
        right, contrast, self.n = summed(self.sums)[0].tolist()  # over all ranks
        return {"half_shown": right / self.n, "half_contrast": contrast / self.n} if self.n else {}

    def card(self) -> Card:
        return {"n": int(self.n)}

    def reset(self) -> None:
        self.sums = torch.zeros(3, dtype=torch.float64)
