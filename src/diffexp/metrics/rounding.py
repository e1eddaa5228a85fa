"""How an image in [−1, 1] becomes numbers of 0 to 255 for an extractor.

nearest: to 8 bits, as files of images have them, and as EDM's code rounds; down: to 8 bits by leaving the
rest away, as guided-diffusion's code does, half a step darker; none: as it is, float.
"""

from typing import Literal

import torch
from torch import Tensor

Rounding = Literal["nearest", "down", "none"]


def unrounded(x: Tensor) -> Tensor:
    """Return images near [−1, 1] as float32 of 0 to 255, clamped."""
    return ((x + 1) * 127.5).clamp(0, 255)


def rounded(images: Tensor, how: Rounding) -> Tensor:
    """Return float images of 0 to 255 as uint8, or as they are. `nearest` gives what the codec does."""
    if how == "none":
        return images
    return (images.round() if how == "nearest" else images.floor()).to(torch.uint8)
