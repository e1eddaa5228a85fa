"""Read the pixels of a file: decode, convert on purpose, scale to fill the size, cut out the centre.

    grey, palette, 1-bit, CMYK, ...  -> RGB or L as Pillow converts them (L is ITU-R 601 luma)
    transparency                     -> laid over white
    16-bit grey                      -> 8 bits, 65535 -> 255
    camera orientation (EXIF)        -> applied
    several frames                   -> the first

Scaling is bicubic with antialiasing; an image of the right size keeps its pixels.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import ExifTags, Image, ImageOps
from torch import Tensor

from diffexp.data.member import Member
from diffexp.errors import ConfigError, DataError
from diffexp.files import open_regular

Source = Path | Member
"""A picture in a file of its own, or in a part of one."""
Mode = Literal["RGB", "L"]
MOST_SIDE = 1 << 14  # of an image, in pixels
# No others, whatever a file is called: of PostScript, say, Pillow lets Ghostscript run the program in it.
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})


def _eight_bits(image: Image.Image) -> Image.Image:
    grey = np.asarray(image).astype(np.int64)
    if grey.min() < 0 or grey.max() > 65535:
        raise ValueError("grey values outside 0..65535")
    return Image.fromarray(((grey * 255 + 32767) // 65535).astype(np.uint8))


def convert(image: Image.Image, mode: Mode) -> Image.Image:
    """Convert any picture to 8-bit RGB or L. Raises ValueError where the range of its values is unknown."""
    if image.mode == "F":
        raise ValueError("floating-point pixels, whose range is not known")
    if image.mode.startswith("I"):
        image = _eight_bits(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert(mode)


@contextmanager
def picture(path: Source) -> Iterator[Image.Image]:
    """Open a picture. Raises DataError naming it, also for what goes wrong in the body."""
    do = "mend or remove it, or type data.broken=skip"
    try:
        opened = path.open() if isinstance(path, Member) else open_regular(path)
        with opened as file, Image.open(file, formats=FORMATS) as image:
            yield image
    except DataError as error:
        raise DataError(f"this image cannot be used: {error.what}", str(path), do) from error
    except Exception as error:  # decoders raise OSError, ValueError, SyntaxError, struct.error, ...
        unknown = isinstance(error, Image.UnidentifiedImageError)
        reason = f"not an image of {', '.join(FORMATS)}" if unknown else str(error)
        raise DataError(f"this image cannot be used: {reason}", str(path), do) from error


def sides(size: int | Sequence[int]) -> tuple[int, int]:
    """Return (H, W) of data.size, which is one number where they are the same. Raises ConfigError."""
    both = (size, size) if isinstance(size, int) else tuple(size)
    if len(both) != 2 or not all(isinstance(side, int) and side > 0 for side in both):
        shown = size if isinstance(size, int | str) else list(size)
        do = "type pixels, as in data.size=64, or height and width, as in data.size=[48,64]"
        raise ConfigError(f"data.size={shown} is no size", "data.size", do)
    if max(both) > MOST_SIDE:
        raise ConfigError(
            f"data.size={max(both)} is more than {MOST_SIDE:,} pixels", "data.size", "give less"
        )
    return both[0], both[1]


def shown_sides(image: Image.Image) -> tuple[int, int]:
    """Return (H, W) of a picture as it is shown: the camera's orientation may exchange them."""
    width, height = image.size
    turned = width != height and image.getexif().get(ExifTags.Base.Orientation, 1) in (5, 6, 7, 8)
    return (width, height) if turned else (height, width)


def sides_of(path: Source) -> tuple[int, int] | None:
    """Return (H, W) of the picture of a file as it is shown, by its header; None where it cannot be read."""
    try:
        with picture(path) as image:
            return shown_sides(image)
    except DataError:
        return None


def is_grey(path: Source) -> bool | None:
    """Return whether the image of a file has no colours, by its header; None where it cannot be read."""
    try:
        with picture(path) as image:
            return image.mode in ("1", "L", "LA", "La", "F") or image.mode.startswith("I")
    except DataError:
        return None


def whole_picture(path: Source, mode: Mode, max_pixels: int) -> Image.Image:
    """Read the picture of a file as it is shown. Raises DataError naming it."""
    with picture(path) as image:
        if image.width * image.height > max_pixels:
            raise ValueError(f"{image.width} x {image.height} pixels, more than data.max_pixels={max_pixels}")
        return convert(ImageOps.exif_transpose(image), mode)


def cover(whole: Image.Image, size: tuple[int, int], place: tuple[float, float] = (0.5, 0.5)) -> Tensor:
    """Return a picture scaled so that it covers `size`, (H, W), without the rest: uint8 (C, H, W). place: of
    the rest, which share is cut off left, and above.
    """
    fitted = ImageOps.fit(whole, (size[1], size[0]), Image.Resampling.BICUBIC, centering=place)
    pixels = torch.from_numpy(np.array(fitted))
    return pixels[None] if pixels.ndim == 2 else pixels.permute(2, 0, 1).contiguous()
