"""The table of docs/images.md is what is seen here: of each kind of picture a file, and its first pixel."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from diffexp.data.fitted import Fit
from diffexp.errors import DataError

PAGE = Path(__file__).parents[2] / "docs" / "images.md"
COLOUR = (200, 100, 50)


def plain(mode="RGB", colour=COLOUR, size=(4, 4)):
    return Image.new(mode, size, colour)


def png_of(width, height, depth, kind, row=b""):
    """The bytes of a PNG as no library would write it: any size in the header, one row of data."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    data = zlib.compress((b"\0" + row) * min(height, 4))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def file(path, content):
    path.write_bytes(content)
    return path


def saved(path, image, **options):
    image.save(path, **options)
    return path


def palette(path, **options):
    image = Image.new("P", (4, 4))
    image.putpalette([*COLOUR, 0, 0, 255])
    return saved(path, image, **options)


def turned(path):
    """The upper half is white, and the camera was upside down."""
    image = plain(colour="black")
    image.paste((255, 255, 255), (0, 0, 4, 2))
    exif = Image.Exif()
    exif[274] = 3
    return saved(path, image, exif=exif)


def cut(path):
    saved(path, Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)))
    return file(path, path.read_bytes()[:6000])


def profile(path):
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    return saved(path, plain(), icc_profile=lab)


KINDS = {
    "grey": lambda p: saved(p / "a.png", plain("L", 77)),
    "1 bit": lambda p: saved(p / "a.png", plain("1", 1)),
    "16-bit grey": lambda p: saved(p / "a.png", Image.fromarray(np.full((4, 4), 257 * 40, np.uint16))),
    "16-bit colour": lambda p: file(
        p / "a.png", png_of(4, 4, 16, 2, b"".join(struct.pack(">H", c * 257) for c in COLOUR) * 4)
    ),
    "CMYK": lambda p: saved(p / "a.tif", plain("CMYK", (0, 255, 255, 0))),
    "palette": lambda p: palette(p / "a.gif"),
    "palette with a transparent colour": lambda p: palette(p / "a.gif", transparency=0),
    "alpha, a fifth of black": lambda p: saved(p / "a.png", plain("RGBA", (0, 0, 0, 51))),
    "grey with alpha, none of it": lambda p: saved(p / "a.png", plain("LA", (0, 0))),
    "EXIF orientation": lambda p: turned(p / "a.png"),
    "animation": lambda p: saved(
        p / "a.gif", plain(colour="red"), save_all=True, append_images=[plain(colour="blue")]
    ),
    "1 pixel": lambda p: saved(p / "a.png", plain(size=(1, 1))),
    "a line, 1 x 300": lambda p: saved(p / "a.png", plain(size=(1, 300))),
    "colour profile": lambda p: profile(p / "a.png"),
    "84 million pixels": lambda p: file(p / "a.png", png_of(9200, 9200, 8, 0)),
    "400 million pixels in 90 bytes": lambda p: file(p / "a.png", png_of(20_000, 20_000, 8, 0)),
    "cut short": lambda p: cut(p / "a.png"),
    "floating point": lambda p: saved(p / "a.tif", plain("F", 0.5)),
    "Lab": lambda p: saved(p / "a.tif", plain("LAB", (128, 128, 128))),
    "SVG, HEIC, RAW, PDF": lambda p: file(p / "a.png", b"<svg xmlns='http://www.w3.org/2000/svg'/>"),
}


def seen(path, mode="RGB"):
    """The first pixel of four by four, or why there is none."""
    try:
        image = Fit(mode, 80_000_000)(path, (4, 4)).image
    except DataError as error:
        assert error.where == str(path)
        return error.what.removeprefix("this image cannot be used: ")
    return " ".join(str(int(value)) for value in image[:, 0, 0])


def table():
    """The rows of the page: kind, what is seen."""
    rows = [line.strip("| ").split(" | ") for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    return {row[0]: row[-1].strip("`") for row in rows[2:]}


def test_the_page_has_every_kind():
    assert list(table()) == list(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_a_picture_becomes_what_the_page_says(kind, tmp_path):
    assert seen(KINDS[kind](tmp_path)) == table()[kind]


def test_in_grey_a_colour_is_its_luma(tmp_path):
    red, green, blue = COLOUR
    assert seen(saved(tmp_path / "a.png", plain()), "L") == str(
        round(0.299 * red + 0.587 * green + 0.114 * blue)
    )
