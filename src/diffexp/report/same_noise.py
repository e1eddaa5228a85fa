"""Samples of several cells from the same noise, side by side, with what has changed most outlined.

They are read from the grids that evaluations draw: lossless, and with a note of where each image is, what it
was asked for, and which noise it is of. Older grids have none, and are left out.
"""

import base64
import io
import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

from diffexp.escape import markup
from diffexp.pictures import TILES

MOST, LARGEST_ROWS, MORE_ROWS = 6, 6, 4  # columns; rows of the largest differences, and down to the smallest
SIDE = 112  # pixels of a tile on the page, about
MARK = (213, 94, 0)


@dataclass(frozen=True)
class Samples:
    """images: uint8 (H, W, 3) by number; of: what is the same where numbers mean the same noise; features: of
    each image, float (dim,), by an extractor; none where they were not kept.
    """

    images: Mapping[int, np.ndarray]
    of: str
    features: Mapping[int, np.ndarray]
    by: str


def read_samples(path: Path) -> Samples | None:
    """Read the images of a grid; None where it is none of ours, or says nothing of its noise."""
    try:
        return _read(path, path.stat().st_mtime_ns)
    except (OSError, ValueError):
        return None


@lru_cache(maxsize=8)  # of photographs each is tens of megabytes
def _read(path: Path, written: int) -> Samples | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=("PNG",)) as image:
                pixels = np.asarray(image.convert("RGB"))
                about = json.loads(image.text[TILES])  # type: ignore[attr-defined]
        height, width = map(int, about["size"])
        step, at, numbers = int(about["factor"]), about["at"], about["numbers"]
        of = json.dumps([about["noise"], about["asked"], height, width], sort_keys=True)
        if min(height, width, step) < 1 or not 0 < len(at) == len(set(map(int, numbers))) <= 10_000:
            return None
        images = [pixels[y : y + step * height : step, x : x + step * width : step] for x, y in at]
    except Exception:  # of a stranger's file: no common type
        return None
    if any(image.shape != (height, width, 3) for image in images):
        return None
    names = list(map(int, numbers))
    return Samples(dict(zip(names, images, strict=True)), of, *_features(about, names))


def _features(about: Mapping[str, Any], numbers: Sequence[int]) -> tuple[dict[int, np.ndarray], str]:
    try:
        kept = np.frombuffer(base64.b64decode(about["features"]), np.float16).astype(np.float64)
        rows = kept.reshape(len(numbers), -1)
        if rows.size and np.isfinite(rows).all():
            return dict(zip(numbers, rows, strict=True)), str(about["by"])
    except (KeyError, TypeError, ValueError):
        pass
    return {}, ""


def distance(a: np.ndarray, b: np.ndarray) -> float:
    """Return the root mean square difference of two images uint8 (H, W, 3), of pixel values 0 to 255."""
    return float(np.sqrt(np.square(a.astype(np.float64) - b).mean()))


def changed(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return where two images differ most, bool (H, W): the fewest pixels that have half of the squared
    difference, smoothed over an eighth of the side.
    """
    from scipy.ndimage import uniform_filter

    square = np.square(a.astype(np.float64) - b).sum(-1)
    square = uniform_filter(square, max(1, min(square.shape) // 8), mode="constant")
    if not square.any():
        return np.zeros(square.shape, dtype=bool)
    ordered = np.sort(square, axis=None)[::-1]
    enough = int(np.searchsorted(np.cumsum(ordered), ordered.sum() / 2))
    return square >= ordered[min(enough, len(ordered) - 1)]


def side_by_side(cells: Sequence[tuple[str, Path]]) -> str:
    """Return a table of images of the first cell, (name, grid), and of the others that are from the same
    noise, in rows by how much they differ; "" where there are none such.
    """
    name, first = (cells[0][0], read_samples(cells[0][1])) if cells else ("", None)
    if first is None:
        return ""
    others = list(islice(_same(first, cells[1:]), MOST - 1))
    if not others:
        return ""
    far = {i: [distance(image, s.images[i]) for _, s in others] for i, image in first.images.items()}
    by = first.by if all(s.by == first.by and _alike(first, s) for _, s in others) else ""
    apart = _apart(first, [s for _, s in others]) if by else far
    order = sorted(far, key=lambda i: -sum(apart[i]))
    heads = "".join(f"<th scope=col>{markup(n)}</th>" for n in (name, *(n for n, _ in others)))
    lines = [f"<tr><th scope=col>image</th>{heads}</tr>"]
    for place in _rows(len(order)):
        i = order[place]
        tiles = [_tile(first.images[i], None, "")]
        for (_, s), d, f in zip(others, far[i], apart[i], strict=True):
            text = f"{f:.3g} · {d:.3g}" if by else f"{d:.3g}"
            tiles.append(_tile(s.images[i], changed(first.images[i], s.images[i]), text))
        head = f"<th scope=row>{i}<br><small>{place + 1} of {len(order)}</small></th>"
        lines.append(f"<tr>{head}{''.join(tiles)}</tr>")
    rows = "".join(lines)
    return (
        f"<h3>From the same noise</h3><p>{_about(name, by)}</p>"
        f"<div class=scroll><table class=samples>{rows}</table></div>"
    )


def _about(name: str, by: str) -> str:
    which = markup(by.partition(" ")[0])
    how = f", by the features of {which}: the first number is their distance" if by else ""
    return (
        f"Images from the same noise as those of {markup(name)}, the most different first{how}. "
        f"The {'second' if by else 'number'} is the root mean square difference of the pixels, of 255; "
        "outlined are the fewest that have half of it."
    )


def _alike(a: Samples, b: Samples) -> bool:
    return bool(a.by) and {v.shape for v in a.features.values()} == {v.shape for v in b.features.values()}


def _apart(first: Samples, others: Sequence[Samples]) -> dict[int, list[float]]:
    """Return the distance of the features of each image to those of the others' images."""
    return {i: [float(np.linalg.norm(f - s.features[i])) for s in others] for i, f in first.features.items()}


def _same(first: Samples, cells: Sequence[tuple[str, Path]]) -> Iterator[tuple[str, Samples]]:
    for name, path in cells:
        samples = read_samples(path)
        if samples is not None and samples.of == first.of and set(samples.images) == set(first.images):
            yield name, samples


def _rows(count: int) -> list[int]:
    """Return the places of the largest differences, and some more down to the smallest."""
    if count <= LARGEST_ROWS + MORE_ROWS:
        return list(range(count))
    more = np.linspace(LARGEST_ROWS, count - 1, MORE_ROWS + 1)[1:]
    return [*range(LARGEST_ROWS), *(round(float(place)) for place in more)]


def _tile(image: np.ndarray, mask: np.ndarray | None, text: str) -> str:
    picture, factor = Image.fromarray(image), SIDE / max(image.shape[:2])
    by = max(1, round(factor)) if factor >= 1 else factor
    size = (max(1, round(by * picture.width)), max(1, round(by * picture.height)))
    picture = picture.resize(size, Image.Resampling.NEAREST if factor >= 1 else Image.Resampling.LANCZOS)
    if mask is not None and mask.any() and not mask.all():
        large = Image.fromarray(mask.astype(np.uint8) * 255).resize(size, Image.Resampling.NEAREST)
        inner = np.pad(np.asarray(large), 2, mode="edge")
        inner = np.asarray(Image.fromarray(inner).filter(ImageFilter.MinFilter(5)))[2:-2, 2:-2]
        pixels = np.asarray(picture).copy()
        pixels[(np.asarray(large) > 0) & (inner == 0)] = MARK
        picture = Image.fromarray(pixels)
    out, kind = io.BytesIO(), "PNG" if factor >= 1 else "JPEG"
    options: dict[str, Any] = {"optimize": True} if factor >= 1 else {"quality": 85}
    picture.save(out, kind, **options)
    data = base64.b64encode(out.getvalue()).decode()
    return f"<td><img alt='' src='data:image/{kind.lower()};base64,{data}'><br><small>{text}</small></td>"
