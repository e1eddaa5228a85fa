"""Pictures to look at: sample grids, one row for each label, and curves."""

import math
import os
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from diffexp.errors import ConfigError

GAP = 4  # between images
MARGIN = 14  # around all
PAPER, INK = (255, 255, 255), (40, 40, 40)


def grid(
    images: Tensor,
    labels: Sequence[str] | None = None,
    columns: int | None = None,
    size: int = 80,
    title: str | None = None,
) -> Image.Image:
    """Images uint8 (N, C, H, W), grey or RGB, side by side; small ones are enlarged to about `size`.

    labels: one for each image; each run of equal ones is a row with its label at the left, or several rows
    when it is longer than `columns`. Without labels the grid is nearly square. Raises ConfigError for no
    images.
    """
    if not len(images):
        raise ConfigError("there are no images to draw", "images", "give at least one")
    tiles = _tiles(images, size)
    columns = columns or (math.ceil(math.sqrt(len(tiles))) if labels is None else 10)
    rows = _rows(len(tiles), labels, columns)
    high, wide = tiles.shape[1:3]
    font = ImageFont.load_default(max(12, min(22, high // 3)))
    head = max((font.getlength(name) for name, _ in rows), default=0)
    left = MARGIN + (math.ceil(head) + 2 * GAP if head else 0)
    most = max(len(row) for _, row in rows)
    width = left + most * (wide + GAP) - GAP + MARGIN
    lines, small = _wrapped(title, width - 2 * MARGIN)
    top = MARGIN + len(lines) * (small.size + GAP) + (GAP if lines else 0)
    page = Image.new("RGB", (width, top + len(rows) * (high + GAP) - GAP + MARGIN), PAPER)
    draw = ImageDraw.Draw(page)
    for i, line in enumerate(lines):
        draw.text((MARGIN, MARGIN + i * (small.size + GAP)), line, INK, small)
    for r, (name, row) in enumerate(rows):
        y = top + r * (high + GAP)
        draw.text((left - 2 * GAP, y + high // 2), name, INK, font, anchor="rm")
        for c, i in enumerate(row):
            page.paste(Image.fromarray(tiles[i]), (left + c * (wide + GAP), y))
    return page


def _tiles(images: Tensor, size: int) -> np.ndarray:
    """uint8 (N, H', W', 3), each pixel repeated."""
    factor = max(1, round(size / max(images.shape[2:])))
    pixels = images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images
    pixels = pixels.repeat_interleave(factor, 2).repeat_interleave(factor, 3)
    return np.ascontiguousarray(pixels.permute(0, 2, 3, 1).cpu().numpy())


def _rows(n: int, labels: Sequence[str] | None, columns: int) -> list[tuple[str, list[int]]]:
    """(head, numbers of the images) of each row."""
    names = [""] * n if labels is None else list(labels)
    rows: list[tuple[str, list[int]]] = []
    for name, run in groupby(range(n), key=lambda i: names[i]):
        numbers = list(run)
        parts = [numbers[k : k + columns] for k in range(0, len(numbers), columns)]
        rows += [(name if k == 0 else "", part) for k, part in enumerate(parts)]
    return rows


def _wrapped(text: str | None, width: int) -> tuple[list[str], ImageFont.FreeTypeFont]:
    """Lines of a title no wider than `width`, by breaking it at spaces, and the font."""
    font = ImageFont.load_default(14)
    assert isinstance(font, ImageFont.FreeTypeFont)
    lines: list[str] = []
    for word in (text or "").split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and font.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines, font


def save(image: Image.Image, path: Path) -> None:
    """As a PNG, all of it or nothing; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    image.save(part, format="PNG")
    os.replace(part, path)
