"""The sides of a vote: runs, which are sampled with the same noise, and folders of images, paired by the
names of their files: what task=sample writes has the number and the seed in it.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from diffexp.data import metadata
from diffexp.data.images import SUFFIXES, convert, picture
from diffexp.data.regular import check_link, walk
from diffexp.errors import DataError
from diffexp.notice import warn
from diffexp.run.job import Job
from diffexp.tasks.sample import Sample, draw, words_of

MOST_PIXELS = 80_000_000
_DIGITS = re.compile(r"\d+")


@dataclass(frozen=True)
class Side:
    """One side of the comparisons. words: what each of its images shows, by its key, "" where that is not
    known; read: gives the images of some keys, RGB; about: what is kept of it beside its name; data: the node
    of its data set, of a run.
    """

    name: str
    words: Mapping[str, str]
    read: Callable[[Sequence[str]], list[Image.Image]]
    about: Mapping[str, Any]
    data: Mapping[str, Any] | None = None


def is_run(path: Path) -> bool:
    """Return whether a path is a checkpoint, or the folder of a run that has one; others are of images."""
    if not path.is_dir():
        return True
    names = ("checkpoints", "model.safetensors", "adapter_model.safetensors", "learned_embeds.safetensors")
    return any((path / name).exists() for name in names)


def of_run(job: Job, name: str, sample: Sample) -> Side:
    """Return a run as a side, which samples when it is read. Raises DiffexpError."""
    restored, parts, asked = sample.prepared(job)
    seed, words = job.config["seed"], words_of(asked, restored.class_names)
    keys = [f"{i:05d}_seed{seed}" for i in range(sample.n)]

    def read(wanted: Sequence[str]) -> list[Image.Image]:
        images = draw(job, *sample.prepared(job, measure=True)).permute(0, 2, 3, 1).numpy()
        return [rgb(images[keys.index(key)]) for key in wanted]

    about = {"path": str(restored.path), "step": restored.step, "sampler": repr(parts["sampler"])}
    said = dict(zip(keys, words or [""] * len(keys), strict=True))
    return Side(name, said, read, about, parts["data"])


def of_folder(path: Path, name: str) -> Side:
    """Return a folder of images as a side; of a task=sample that of its samples. Raises DataError."""
    folder = path / "samples" if (path / "samples").is_dir() and (path / "run.json").exists() else path
    rows = metadata.read(folder)
    files = list(rows) if rows is not None else [f for f in walk(folder, "refuse") if _is_image(f, folder)]
    if not files:
        what = "there is no checkpoint and no image in this folder"
        raise DataError(what, str(path), "give the folder of a run, or one of images")
    named = dict[str, Path]()
    for file in sorted(files):
        check_link(file, folder, "refuse")
        named.setdefault(file.relative_to(folder).with_suffix("").as_posix(), file)
    words = {key: _words(rows[file]) if rows is not None else "" for key, file in named.items()}

    def read(keys: Sequence[str]) -> list[Image.Image]:
        return [_opened(named[key]) for key in keys]

    return Side(name, words, read, {"path": str(folder), "images": len(named)})


def _is_image(file: Path, folder: Path) -> bool:
    hidden = any(part.startswith(".") for part in file.relative_to(folder).parts)
    return file.suffix.lower() in SUFFIXES and not hidden


def _words(row: Mapping[str, str | list[str]]) -> str:
    """Return the caption of an image, else its class."""
    said = row.get("text") or row.get("label") or ""
    return said if isinstance(said, str) else next(iter(said), "")


def _opened(path: Path) -> Image.Image:
    with picture(path) as image:
        if image.width * image.height > MOST_PIXELS:
            raise ValueError(f"{image.width} x {image.height} pixels, more than {MOST_PIXELS:,}")
        return convert(image, "RGB")


def rgb(pixels: np.ndarray) -> Image.Image:
    """Return an image of uint8 (H, W, C) in RGB."""
    return Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels).convert("RGB")


def paired(sides: Sequence[Side]) -> list[tuple[str, ...]]:
    """Return the keys of the images that belong together, of each side: those of one name; where there is
    none, of one number at the beginning of the name. Raises DataError where nothing does.
    """
    common = [key for key in sides[0].words if all(key in side.words for side in sides)]
    if common:
        return [(key,) * len(sides) for key in common]
    numbered = [{n: key for key in side.words if (n := _number(key)) is not None} for side in sides]
    numbers = [n for n in numbered[0] if all(n in side for side in numbered)]
    if not numbers:
        what, do = "no image is in all of these", "give folders whose files have the same names or numbers"
        raise DataError(what, "task.runs", do)
    warn("no file has the same name: paired by number, and not from the same seed")
    return [tuple(side[n] for side in numbered) for n in numbers]


def _number(key: str) -> int | None:
    match = _DIGITS.match(key.rpartition("/")[2])
    return int(match[0][:18]) if match else None


def said_of(sides: Sequence[Side], keys: tuple[str, ...]) -> str:
    """Return what images that belong together show. Raises DataError where they were asked for different
    things.
    """
    words = {side.words[key]: (side, key) for side, key in zip(sides, keys, strict=True) if side.words[key]}
    if len(words) > 1:
        (one, (a, key)), (other, (b, _)) = list(words.items())[:2]
        what = f"{a.name} shows {one[:80]!r}, and {b.name} {other[:80]!r}"
        raise DataError(what, f"image {key}", "give runs of the same classes or prompts, and the same order")
    return next(iter(words), "")
