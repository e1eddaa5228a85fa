"""The batch that training and the metrics receive: images, with what is known about them."""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from diffexp.condition import Asked


class Batch(NamedTuple):
    """A batch of images. image: uint8 (B, C, H, W), turned into numbers around 0 by the codec, on the device.

    label: int64 (B,), the class, or None where the data set has no classes.
    text: one caption for each image, or None.
    index: int64 (B,), the number of each image in its split.
    latent: what the codec's `draw` takes, where that lies ready; then the images may be empty, (B, 0, 0, 0).
    size: int64 (B, 6), of which part of which picture the image is (`Fitted`), where the data says it.
    weight: float32 (B,), of each image in the loss; None for the same.
    real: the images of all ranks without those behind them that weigh nothing, and are there so that ranks
    have equal work; None where there are no such.
    """

    image: Tensor
    label: Tensor | None
    text: list[str] | None
    index: Tensor  # pyright: ignore[reportIncompatibleMethodOverride]  (hides tuple.index)
    latent: Tensor | None = None
    size: Tensor | None = None
    weight: Tensor | None = None
    real: int | None = None

    @property
    def asked(self) -> Asked:
        """The request to a model that would give images like these."""
        text = None if self.text is None else tuple(self.text)
        return Asked(len(self.image), self.label, text, size=self.size)


def texts_of(texts: Sequence[str] | None, index: Tensor) -> list[str] | None:
    """Return the captions of these numbers, if there are any."""
    return None if texts is None else [texts[int(i)] for i in index.tolist()]
