"""The class of each image of a folder: a column of its metadata, or the sub-folder that the image is in."""

from collections.abc import Sequence
from pathlib import Path

from diffexp.data import metadata
from diffexp.data.regular import Links
from diffexp.errors import DataError
from diffexp.notice import chosen

NO_CLASSES = "no classes, for there are not two folders of images (data.label=none)"


def grouped(
    label: str, rows: metadata.Rows | None, files: Sequence[Path], path: Path, links: Links = "refuse"
) -> list[str]:
    """Return the class of each file of the folder `path`; [] for no classes. label: as that of Folder, where
    `text` is also the .txt beside each image.

    Raises DataError for a file without.
    """
    if label == "auto":
        return _if_any(rows, files, path)
    beside = label == metadata.CAPTION and not any(label in row for row in (rows or {}).values())
    if beside and (written := metadata.captions(rows, label, files, path, links)) is not None:
        return [texts[0] for texts in written]
    if label not in ("folder", "none"):
        return metadata.labels(rows, label, files, path)
    parts = [file.relative_to(path).parts for file in files]
    groups = [p[0] if len(p) > 1 else "" for p in parts]
    if label == "none" or len(set(groups)) < 2:
        return []
    if strange := [name for name in groups if any("\ud800" <= letter <= "\udfff" for letter in name)]:
        what = "the name of this folder, which would be a class, is no UTF-8"
        raise DataError(what, str(path / strange[0]), "rename it, or type data.label=none")
    if "" in groups:
        stray = files[groups.index("")]
        do = "move them, or type data.label=none"
        raise DataError("images lie beside the class folders", str(stray), do)
    return groups


def _if_any(rows: metadata.Rows | None, files: Sequence[Path], path: Path) -> list[str]:
    """Return the class of each image where all have one, else nothing; say why."""
    named = any("label" in row for row in (rows or {}).values())
    label = "label" if named else "folder"
    try:
        groups = grouped(label, rows, files, path)
    except DataError as error:
        chosen(f"no classes (data.label=none): {error.what}, as {error.where} shows")
        return []
    source = "the column label of the metadata" if named else "the names of the folders"
    chosen(f"{len(set(groups))} classes, {source} (data.label={label})" if groups else NO_CLASSES)
    return groups
