"""From a file to pixels: decode, convert on purpose, scale the short side, cut out the centre.

    grey, palette, 1-bit, CMYK, ...  -> RGB or L as Pillow converts them (L is ITU-R 601 luma)
    transparency                     -> laid over white
    16-bit grey                      -> 8 bits, 65535 -> 255
    camera orientation (EXIF)        -> applied
    several frames                   -> the first

Scaling is bicubic with antialiasing; an image of the right size keeps its pixels.
"""

from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from diffexp.errors import DataError

Mode = Literal["RGB", "L"]
SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})


def _eight_bits(image: Image.Image) -> Image.Image:
    grey = np.asarray(image).astype(np.int64)
    if grey.min() < 0 or grey.max() > 65535:
        raise ValueError("grey values outside 0..65535")
    return Image.fromarray(((grey * 255 + 32767) // 65535).astype(np.uint8))


def convert(image: Image.Image, mode: Mode) -> Image.Image:
    """Any picture as 8-bit RGB or L. Raises ValueError where the range of its values is unknown."""
    if image.mode == "F":
        raise ValueError("floating-point pixels, whose range is not known")
    if image.mode.startswith("I"):
        image = _eight_bits(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert(mode)


def load_image(path: Path, size: int, mode: Mode, max_pixels: int) -> Tensor:
    """The image of a file: uint8 (C, size, size). Raises DataError naming the file."""
    try:
        with Image.open(path) as image:
            if image.width * image.height > max_pixels:
                raise ValueError(
                    f"{image.width} x {image.height} pixels, more than data.max_pixels={max_pixels}"
                )
            picture = convert(ImageOps.exif_transpose(image), mode)
        picture = ImageOps.fit(picture, (size, size), Image.Resampling.BICUBIC)
    except Exception as error:  # decoders raise OSError, ValueError, SyntaxError, struct.error, ...
        reason = "not an image" if isinstance(error, Image.UnidentifiedImageError) else str(error)
        raise DataError(
            f"this image cannot be used: {reason}", str(path), "mend or remove it, or type data.broken=skip"
        ) from error
    pixels = torch.from_numpy(np.array(picture))
    return pixels[None] if mode == "L" else pixels.permute(2, 0, 1).contiguous()
