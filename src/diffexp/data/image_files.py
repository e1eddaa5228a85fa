"""The images of a folder: all that are below it, or those that its metadata names."""

import logging
from pathlib import Path

from diffexp.data import metadata
from diffexp.data.images import SUFFIXES
from diffexp.data.regular import Links, check_link, walk
from diffexp.errors import DataError

_log = logging.getLogger(__name__)


def image_files(path: Path, rows: metadata.Rows | None, links: Links) -> list[Path]:
    """Return the images of a folder in the order of their names. rows: of its metadata. Raises DataError
    where there is none, for one that the metadata alone has, and for links that are refused.
    """
    images = [
        file
        for file in (walk(path, links) if path.is_dir() else ())
        if file.suffix.lower() in SUFFIXES and not _is_hidden(file.relative_to(path))
    ]
    if not images:
        what = "there is no image in this folder" if path.is_dir() else "there is no such folder"
        if path.is_file():
            do = "type experiment=npz data.path=... for an .npz, or the folder that the image is in"
            raise DataError("this is a file, and no folder", str(path), do)
        kinds = " ".join(sorted(SUFFIXES))
        do = f"type data.path=FOLDER, with images ({kinds}) in it or in one sub-folder for each class"
        raise DataError(what, str(path), do)
    named = _named(images, rows, path) if rows else images
    for file in named:
        check_link(file, path, links)
    return sorted(named)


def _named(images: list[Path], rows: metadata.Rows, path: Path) -> list[Path]:
    """Return those of the images that the rows name."""
    if gone := sorted(set(rows) - set(images)):
        what = f"{metadata.source(path)} names it, and it is no image in the folder"
        raise DataError(what, str(gone[0])[:1000], "mend the line, or remove it")
    if left := len(images) - len(rows):
        _log.warning("%d images left out, which %s does not name", left, metadata.source(path))
    return list(rows)


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)
