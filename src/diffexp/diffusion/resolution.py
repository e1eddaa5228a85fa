"""How much more noise larger images need.

    σ/α of d × d images = σ/α of 64 × 64 images · d / 64          Hoogeboom et al. 2023, eq. 6
    of m pixels         = that of n pixels · √(m / n)              Esser et al. 2024, eq. 23

for neighbouring pixels say the same of what they show, and their noise averages out.
"""

import math
from collections.abc import Sequence

SIDE = 64  # of the square images for which the schedules were made


def shift_between(size: Sequence[int], trained: Sequence[int]) -> float:
    """Return the shift of σ/α from images of (..., H, W) to those of another size."""
    return math.sqrt(math.prod(size[-2:]) / math.prod(trained[-2:]))


def shift_of(size: Sequence[int]) -> float:
    """Return the shift of a schedule for images of (..., H, W); 1 for those of 64 x 64 and smaller ones."""
    return max(1.0, shift_between(size, (SIDE, SIDE)))
