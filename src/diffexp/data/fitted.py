"""An image of one size from a picture of any: which part of it is kept, and the numbers that say so.

    s = max(H / h, W / w)                        the scale at which a picture (h, w) covers an image (H, W)
    top = u (s h - H),  left = v (s w - W)       what is cut off above and left, u and v in [0, 1]

u = v = 1/2 keeps the centre. A point (x, y) of the picture, shares of its width and height, that is to be in
the middle gives v = (s w x - W / 2) / (s w - W), and u likewise, as far as the picture goes.

The numbers are those of Podell et al. 2023 (SDXL), section 2.2, whose network is told them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from diffexp.data.images import Mode, Source, cover, whole_picture
from diffexp.errors import ConfigError
from diffexp.randomness import keys

Place = tuple[float, float]
"""(v, u) as above."""
CENTRE = (0.5, 0.5)


class Fitted(NamedTuple):
    """image: uint8 (C, H, W). size: int64 (6,): height and width of the picture, what was cut off above and
    left of it after it was scaled, height and width of the image, all in pixels; None where nobody says it.
    """

    image: Tensor
    size: Tensor | None


def fitted(image: Tensor | Fitted) -> Fitted:
    """Return an image, uint8 (C, H, W), as one of which nobody says the part."""
    return image if isinstance(image, Fitted) else Fitted(image, None)


@dataclass(frozen=True)
class Fit:
    """Reads pictures as images. points: the (x, y) that is to be in the middle, of files that have one."""

    mode: Mode
    max_pixels: int
    points: Mapping[Path, Place] | None = None

    def __call__(self, path: Source, size: tuple[int, int], place: Place | None = None) -> Fitted:
        """Read the picture of a file as an image of `size`, (H, W). place: None for its point, or the centre.
        Raises DataError naming it.
        """
        whole = whole_picture(path, self.mode, self.max_pixels)
        sides = whole.height, whole.width
        if place is None:
            point = self.points.get(path) if self.points and isinstance(path, Path) else None
            place = CENTRE if point is None else _shares(*sides, size, point)
        down, across = _over(*sides, size)
        told = torch.tensor([*sides, round(place[1] * down), round(place[0] * across), *size])
        return Fitted(cover(whole, size, place), told)


def _over(high: int, wide: int, size: tuple[int, int]) -> tuple[float, float]:
    """Return (s h - H, s w - W), one of which is 0."""
    scale = max(size[0] / high, size[1] / wide)
    return max(0.0, scale * high - size[0]), max(0.0, scale * wide - size[1])


def _shares(high: int, wide: int, size: tuple[int, int], point: Place) -> Place:
    """Return (v, u) of a point (x, y)."""
    shares = list[float]()
    for side, over, at in zip(size, _over(high, wide, size), reversed(point), strict=True):
        wanted = at * (side + over) - side / 2
        shares.append(min(1.0, max(0.0, wanted / over)) if over else 0.5)
    return shares[1], shares[0]


def check_stream(crop: str, stream: bool | str) -> None:
    """Raise ConfigError for random crops of images that are kept in memory."""
    if crop == "random" and stream is False:
        what = "random crops are decoded anew in each epoch, and stream=false keeps one of each picture"
        raise ConfigError(what, "data.stream", "type data.stream=auto")


def mirrored_size(size: Tensor) -> Tensor:
    """Return the numbers of the mirror images, int64 (B, 6): what was cut off right is then cut off left."""
    high, wide, top, left, height, width = size.double().unbind(1)
    over = (torch.maximum(height / high, width / wide) * wide - width).round()
    return torch.stack([high, wide, top, over - left, height, width], 1).long()


def drawn_places(seed: int, epoch: int, index: Tensor) -> Tensor:
    """Return a place (v, u) for each image of this epoch, uniform, float64 (B, 2): as flips, a function."""
    both = [keys(seed, f"crop {axis}", epoch, index=index) for axis in "xy"]
    return torch.stack(both, 1).double() / 2**63
