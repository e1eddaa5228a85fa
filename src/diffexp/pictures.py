"""Pictures to look at: sample grids, one row for each label.

Small images are enlarged by a whole factor, each pixel a square (nearest neighbour), so that a grid shows the
pixels a model made and nothing that a filter invented.
"""

import json
import math
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from diffexp.errors import ConfigError, ResourceError, printable
from diffexp.files import create, make_folder, replacing

TILES = "diffexp:tiles"  # the text in a PNG that says where the images of a grid are
GAP = 4  # pixels between images
MARGIN = 14  # pixels around all
TEXT = 15  # height of the letters of heads and title
LINE = TEXT + 5  # from one line of the title to the next
HEAD, HEAD_LINES, HEAD_LETTERS = 300, 4, 400  # pixels, lines and letters of a head, at most
_FONTS = (
    "DejaVuSans.ttf",
    "NotoSans-Regular.ttf",
    "NotoSansCJK-Regular.ttc",
    "Arial Unicode.ttf",
    "arial.ttf",
)
LEAST = 240  # pixels a title may take, however narrow the grid below it
FRAME, EDGE = (200, 30, 30), 3  # the colour and the width, in pixels, of the frame of a pair
PAPER, INK = (244, 244, 242), (40, 40, 40)  # not white: many photographs have white borders


def grid(
    images: Tensor,
    labels: Sequence[str] | None = None,
    columns: int | None = None,
    size: int = 80,
    title: str | None = None,
) -> Image.Image:
    """Draw images uint8 (N, C, H, W), grey or RGB, side by side; small ones enlarged to about `size` pixels.

    labels: one each; a run of equal ones is a row with its label at the left, broken after `columns` (10).
    Without labels the grid is nearly square. Long labels and a long title are broken into lines. Its
    info["tiles"] says where each image is, and `save` keeps that in the file. Raises ConfigError.
    """
    _check(images, labels, columns, size)
    tiles = _tiles(images, size)
    columns = columns or (math.ceil(math.sqrt(len(tiles))) if labels is None else 10)
    rows = _rows(len(tiles), labels, columns)
    font = _font("".join(name for name, _ in rows) + (title or ""))
    heads = [_head(name, font) for name, _ in rows]
    head = math.ceil(max(font.getlength(line) for lines in heads for line in lines or [""]))
    left = MARGIN + (head + 2 * GAP if head else 0)
    high, wide = max(tiles.shape[1], LINE * max(map(len, heads))) + GAP, tiles.shape[2] + GAP
    inner = left - MARGIN + max(len(row) for _, row in rows) * wide - GAP
    lines = _wrapped(title or "", max(inner, LEAST), font)
    inner = max(inner, *(math.ceil(font.getlength(line)) for line in lines), 0)
    top = MARGIN + (len(lines) * LINE + GAP if lines else 0)
    page = Image.new("RGB", (inner + 2 * MARGIN, top + len(rows) * high - GAP + MARGIN), PAPER)
    draw = ImageDraw.Draw(page)
    for i, line in enumerate(lines):
        draw.text((MARGIN, MARGIN + i * LINE), line, INK, font)
    drawn = [(head, row) for head, (_, row) in zip(heads, rows, strict=True)]
    _paste(page, draw, tiles, drawn, (left, top), high, font)
    places = {
        i: [left + c * wide, top + r * high] for r, (_, row) in enumerate(rows) for c, i in enumerate(row)
    }
    factor, sides = tiles.shape[1] // images.shape[2], [*map(int, images.shape[2:])]
    page.info["tiles"] = {"factor": factor, "size": sides, "at": [places[i] for i in range(len(tiles))]}
    return page


def captioned(images: Tensor, captions: Sequence[str], title: str | None = None) -> Image.Image:
    """Draw images as `grid` does, each beside its caption, in up to four columns, under a title."""
    size = math.ceil(len(images) / min(4, len(images)))
    parts = [
        grid(images[i : i + size], captions[i : i + size], columns=1) for i in range(0, len(images), size)
    ]
    font, width = _font(title or ""), sum(part.width for part in parts)
    lines = _wrapped(title or "", max(width - 2 * MARGIN, LEAST), font)
    width = max(width, *(math.ceil(font.getlength(line)) + 2 * MARGIN for line in lines), 0)
    top = len(lines) * LINE + GAP if lines else 0
    page = Image.new("RGB", (width, top + max(part.height for part in parts)), PAPER)
    at = list[list[int]]()
    for i, part in enumerate(parts):
        left = sum(before.width for before in parts[:i])
        page.paste(part, (left, top))
        at += [[x + left, y + top] for x, y in part.info["tiles"]["at"]]
    page.info["tiles"] = parts[0].info["tiles"] | {"at": at}
    for i, line in enumerate(lines):  # last, for it reaches into the margin of the parts
        ImageDraw.Draw(page).text((MARGIN, MARGIN + i * LINE), line, INK, font)
    return page


def save(image: Image.Image, path: Path) -> None:
    """Write a PNG, all of it or nothing; its folder is made. Raises ResourceError if it cannot be written."""
    about = PngInfo()
    if "tiles" in image.info:
        about.add_text(TILES, json.dumps(image.info["tiles"]))
    try:
        make_folder(path.parent)
        with replacing(path) as part, create(part) as file:
            image.save(file, format="PNG", pnginfo=about)
    except OSError as error:
        raise ResourceError(
            f"the picture cannot be written: {error.strerror or error}",
            str(path),
            "free some disk, or name a folder that you may write to",
        ) from error


def paired(
    above: Tensor, below: Tensor, framed: Sequence[bool], title: str | None = None, columns: int = 8
) -> Image.Image:
    """Draw images uint8 (N, C, H, W) in rows, each above its partner in `below`; some pairs have a frame."""
    factor = max(1, math.floor(80 / max(above.shape[2:]) + 0.5))
    order = [torch.arange(i, min(i + columns, len(above))) for i in range(0, len(above), columns)]
    chosen = torch.cat([i for numbers in order for i in (numbers, numbers)])
    images = torch.cat([part[i] for i in order for part in (above, below)]).expand(-1, 3, -1, -1)
    images = images.repeat_interleave(factor, 2).repeat_interleave(factor, 3)
    colours = torch.tensor([PAPER, FRAME], dtype=torch.uint8)[torch.tensor(framed).long()[chosen]]
    tiles = colours[:, :, None, None].repeat(1, 1, images.shape[2] + 2 * EDGE, images.shape[3] + 2 * EDGE)
    tiles[:, :, EDGE:-EDGE, EDGE:-EDGE] = images
    names = [name for i in order for name in ("sample", "nearest") for _ in i]
    return grid(tiles, names, columns, title=title)


def _check(images: Tensor, labels: Sequence[str] | None, columns: int | None, size: int) -> None:
    shape = tuple(images.shape)
    if not len(images):
        raise ConfigError("there are no images to draw", "images", "give at least one")
    if images.dtype != torch.uint8 or len(shape) != 4 or shape[1] not in (1, 3):
        what = f"a grid cannot show {images.dtype} of shape {shape}"
        raise ConfigError(what, "images", "give uint8 (N, 1, H, W) or (N, 3, H, W)")
    if labels is not None and len(labels) != len(images):
        what = f"{len(labels)} labels for {len(images)} images"
        raise ConfigError(what, "labels", "give one for each image")
    for name, value in (("columns", columns), ("size", size)):
        if value is not None and value < 1:
            raise ConfigError(f"{name} is {value}", name, "give at least 1")


def _tiles(images: Tensor, size: int) -> np.ndarray:
    """Return uint8 (N, H', W', 3), each pixel repeated by the factor nearest to size / side (2.5: 3)."""
    factor = max(1, math.floor(size / max(images.shape[2:]) + 0.5))
    pixels = images.expand(-1, 3, -1, -1)
    pixels = pixels.repeat_interleave(factor, 2).repeat_interleave(factor, 3)
    return np.ascontiguousarray(pixels.permute(0, 2, 3, 1).cpu().numpy())


def _rows(n: int, labels: Sequence[str] | None, columns: int) -> list[tuple[str, list[int]]]:
    """Return (head, numbers of the images) of each row; the rows that continue a run have the head ""."""
    names = [""] * n if labels is None else [" ".join(label.split()) for label in labels]
    rows: list[tuple[str, list[int]]] = []
    for name, run in groupby(range(n), key=lambda i: names[i]):
        numbers = list(run)
        parts = [numbers[k : k + columns] for k in range(0, len(numbers), columns)]
        rows += [(name if k == 0 else "", part) for k, part in enumerate(parts)]
    return rows


def _paste(
    page: Image.Image,
    draw: ImageDraw.ImageDraw,
    tiles: np.ndarray,
    rows: list[tuple[list[str], list[int]]],
    corner: tuple[int, int],
    high: int,
    font: ImageFont.FreeTypeFont,
) -> None:
    """Draw the rows from (left, top) = `corner` on, `high` apart, each with its head right before its first
    image.
    """
    (left, top), wide = corner, tiles.shape[2]
    for r, (head, row) in enumerate(rows):
        y = top + r * high
        for k, line in enumerate(head):
            middle = y + tiles.shape[1] // 2 if len(head) == 1 else y + k * LINE + LINE // 2
            draw.text((left - 2 * GAP, middle), line, INK, font, anchor="rm")
        for c, i in enumerate(row):
            page.paste(Image.fromarray(tiles[i]), (left + c * (wide + GAP), y))


def _head(name: str, font: ImageFont.FreeTypeFont) -> list[str]:
    """Return the lines of a head, of which a long one has but the first."""
    lines = _wrapped(printable(name[:HEAD_LETTERS]), HEAD, font)
    cut = len(lines) > HEAD_LINES or len(name) > HEAD_LETTERS
    return [*lines[: HEAD_LINES - 1], "..."] if cut else lines


def _wrapped(text: str, width: int, font: ImageFont.FreeTypeFont) -> list[str]:
    """Break a text into lines within `width`, at spaces, and inside a word that is wider than a line."""
    lines: list[str] = []
    for word in text.split():
        if lines and font.getlength(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
            continue
        lines.append("")
        for letter in word:
            if lines[-1] and font.getlength(lines[-1] + letter) > width:
                lines.append("")
            lines[-1] += letter
    return lines


def _font(text: str) -> ImageFont.FreeTypeFont:
    """Return the font of Pillow, or for letters that it lacks the first font of the machine that has them."""
    font = ImageFont.load_default(TEXT)
    assert isinstance(font, ImageFont.FreeTypeFont)  # it is, whenever a size is given
    if text.isascii():
        return font
    letters = sorted({letter for letter in printable(text) if not letter.isspace()})
    fonts = [font, *_others()]
    return max(fonts, key=lambda one: sum(_has(one, letter) for letter in letters))  # the first of equals


@lru_cache(maxsize=1)
def _others() -> tuple[ImageFont.FreeTypeFont, ...]:
    made = list[ImageFont.FreeTypeFont]()
    for name in _FONTS:
        with suppress(OSError):
            made.append(ImageFont.truetype(name, TEXT))
    return tuple(made)


def _has(font: ImageFont.FreeTypeFont, letter: str) -> bool:
    """Return whether a font draws a letter otherwise than one that there is not."""
    drawn: list[Any] = [font.getmask(one) for one in (letter, "\U0010ffff")]
    return bytes(drawn[0]) != bytes(drawn[1])
