"""Aspect buckets: sizes of about the same area, and for each picture the one of the nearest shape.

    sizes: widths from `least` to `most` in steps, height = floor(area / width) rounded down to a step, at
           least `least`, at most `most`; both orders; and the square
    bucket of a picture (h, w) = argmin |log(h / w) - log(H / W)| over the sizes (H, W)

The picture is scaled by max(H / h, W / w), so that it covers its size, and the rest is cut off: a share of
1 - min(r, 1 / r), r = (h / w) / (H / W). The logarithm treats wide and high pictures alike.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from diffexp.data.images import MOST_SIDE
from diffexp.errors import ConfigError

Size = tuple[int, int]
MOST_SIZES = 1000
_ROWS = 1 << 14  # pictures that are compared with all sizes at once


def bucket_sizes(area: int, step: int, least: int, most: int) -> list[Size]:
    """Return the sizes (H, W) by the rule above, the highest first."""
    square = math.isqrt(area) // step * step
    found = {(square, square)}
    for width in range(least, most + 1, step):
        height = min(most, area // width // step * step)
        if height >= least:
            found |= {(height, width), (width, height)}
    return sorted(found, key=_from_highest)


def _from_highest(size: Size) -> tuple[float, int]:
    return -_log(size), -size[0]


def nearest_bucket(sides: Tensor, sizes: list[Size]) -> Tensor:
    """Return the number of the size nearest to each picture, int64 (N,). sides: (H, W) of them, int64 (N, 2).

    Of sizes equally near the one of most pixels is taken, then the one nearest to a square, then the lowest.
    """
    by_rank = sorted(range(len(sizes)), key=lambda i: (-math.prod(sizes[i]), abs(_log(sizes[i])), sizes[i]))
    shapes = np.array([_log(sizes[i]) for i in by_rank])
    logs, parts = np.log(sides.numpy().astype(np.float64)), [np.empty(0, np.int64)]
    for start in range(0, len(logs), _ROWS):
        own = logs[start : start + _ROWS, 0] - logs[start : start + _ROWS, 1]
        # rounded, so that a difference in the last bits decides nothing
        parts.append(np.abs(own[:, None] - shapes).round(9).argmin(1))
    return torch.tensor(by_rank)[torch.from_numpy(np.concatenate(parts))]


def _log(size: Size) -> float:
    return math.log(size[0]) - math.log(size[1])


@dataclass(frozen=True)
class Sorted:
    """Pictures in their buckets. sizes: (H, W) of the buckets; bucket: int64 (N,), the number of that of each
    picture; cut: float64 (N,), the share of it that is cut off; enlarged: bool (N,).
    """

    sizes: list[Size]
    bucket: Tensor
    cut: Tensor
    enlarged: Tensor

    def select(self, index: Tensor) -> "Sorted":
        return Sorted(self.sizes, self.bucket[index], self.cut[index], self.enlarged[index])

    @property
    def counts(self) -> list[int]:
        """The number of pictures in each bucket."""
        return self.bucket.bincount(minlength=len(self.sizes)).tolist()

    @property
    def used(self) -> list[Size]:
        """The sizes of which there are pictures."""
        return [size for size, count in zip(self.sizes, self.counts, strict=True) if count]

    def words(self) -> str:
        """Return a line on them."""
        used, count, few = self.used, len(self.bucket), int(self.enlarged.sum())
        ends = f"from {_x(used[0])} to {_x(used[-1])}" if len(used) > 1 else "".join(map(_x, used))
        cut = f"{100 * float(self.cut.mean()):.1f} % of a picture cut off on average"
        return f"{len(used)} of {len(self.sizes)} sizes, {ends}; {cut}; {few:,} of {count:,} enlarged"


def _x(size: Size) -> str:
    return f"{size[0]}x{size[1]}"


@dataclass(frozen=True, kw_only=True)
class Buckets:
    """The sizes that there are, and the end of their batches.

    step: the sides are multiples of it; None for an eighth of the size, a multiple of 8. least, most: of a
    side, in pixels; None for half and twice the size. enlarge: false gives a picture that is smaller than its
    size one of its own, its sides rounded down to a step. fill: the last batch of a size in an epoch, which
    has fewer pictures, is filled with others of it, which are then seen twice. Raises ConfigError.
    """

    step: int | None = None
    least: int | None = None
    most: int | None = None
    enlarge: bool = True
    fill: bool = False

    def __post_init__(self) -> None:
        for key in ("step", "least", "most"):
            value = getattr(self, key)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise ConfigError(
                    f"{key}={value!r:.40}", f"data.buckets.{key}", "give pixels, 1 or more, or null"
                )
            if value is not None and value > MOST_SIDE:
                what = f"{key}={value} is more than {MOST_SIDE:,} pixels"
                raise ConfigError(what, f"data.buckets.{key}", "give less")

    def numbers(self, base: Size) -> tuple[int, int, int]:
        """Return step, least and most for images of size (H, W). Raises ConfigError where they do not fit."""
        side = math.isqrt(math.prod(base))
        step = self.step or max(8, side // 64 * 8)
        least = self.least or max(step, side // 2 // step * step)
        most = self.most or 2 * side // step * step
        if step > side:
            what = f"step={step}, and the images have {base[0]} x {base[1]} pixels"
            raise ConfigError(what, "data.buckets.step", f"type data.buckets.step={max(1, side // 8)}")
        if least % step:
            do = f"type data.buckets.least={math.ceil(least / step) * step}, or another step"
            raise ConfigError(f"least={least} is no multiple of step={step}", "data.buckets.least", do)
        if not least <= side <= most:
            key = "least" if least > side else "most"
            what = f"{key}={least if least > side else most}, and a square of the area has sides of {side}"
            do = f"type data.buckets.{key}=null for {'half' if key == 'least' else 'twice'} of that"
            raise ConfigError(what, f"data.buckets.{key}", do)
        if (most - least) // step >= MOST_SIZES // 2:
            what = f"step={step} from {least} to {most} makes more than {MOST_SIZES} sizes"
            raise ConfigError(what, "data.buckets.step", "give more, an eighth of the size, say")
        return step, least, most

    def sizes(self, base: Size) -> list[Size]:
        """Return the sizes (H, W) of about the area of `base`. Raises ConfigError."""
        return bucket_sizes(math.prod(base), *self.numbers(base))

    def sort(self, sides: Tensor, base: Size) -> Sorted:
        """Put pictures of these sides, int64 (N, 2), into their buckets. Raises ConfigError."""
        sizes = self.sizes(base)
        bucket = nearest_bucket(sides, sizes)
        if not self.enlarge:
            sizes, bucket = self._shrink(sides, base, sizes, bucket)
        given = torch.tensor(sizes)[bucket]
        ratio = (given.double() / sides).sort(1).values  # the larger one scales the picture
        return Sorted(sizes, bucket, 1 - ratio[:, 0] / ratio[:, 1], (given > sides).any(1))

    def _shrink(
        self, sides: Tensor, base: Size, sizes: list[Size], bucket: Tensor
    ) -> tuple[list[Size], Tensor]:
        """Return sizes and buckets with others for the pictures that would be enlarged."""
        step, _, most = self.numbers(base)
        number = {size: i for i, size in enumerate(sizes)}
        bucket = bucket.clone()
        for i in (torch.tensor(sizes)[bucket] > sides).any(1).nonzero().flatten().tolist():
            low, high = sorted(min(most, max(step, side // step * step)) for side in sides[i].tolist())
            high = min(high, max(low, math.prod(base) // low // step * step))
            size = (low, high) if sides[i, 0] <= sides[i, 1] else (high, low)
            bucket[i] = number.setdefault(size, len(number))
        order = sorted(number, key=_from_highest)
        place = torch.tensor([order.index(size) for size in number])
        return order, place[bucket]
