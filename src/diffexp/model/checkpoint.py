"""Checkpoints that are whole or not there.

A file is written beside its place, flushed to the disk, and moved there in one step. Its digest is in a JSON
beside it, which is replaced first and names the digest of the file before as well: whenever the power fails,
what lies there is one of the two.
"""

import errno
import hashlib
import json
import os
import shutil
import zipfile
import zlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from diffexp.archive import DO, is_dict, judge_archive, judge_content
from diffexp.errors import DataError, ResourceError
from diffexp.files import create, flush, make_folder, read_json, replacing, sync_folder
from diffexp.files import write as write_file
from diffexp.model.format import upgraded
from diffexp.notice import say, warn

LAST, PREVIOUS = "last.ckpt", "previous.ckpt"
# of os.link, where the file system has no hard links, no more of them, or does not let this user make one
_NO_LINKS = {
    errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.EMLINK,
    errno.EXDEV,
}  # fmt: skip


def digest(path: Path) -> str:
    """sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _beside(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def write(path: Path, checkpoint: Mapping[str, Any]) -> None:
    """Write all of it or nothing. Raises ResourceError, and DataError for a link in place of its folder."""
    try:
        make_folder(path.parent)
        _remove_parts(path)
        needed, free = path.stat().st_size if path.exists() else 0, shutil.disk_usage(path.parent).free
        if needed > free:
            raise OSError(f"it has about {needed >> 20:,} MB, and {free >> 20:,} MB are free")
        with replacing(path) as part, replacing(_beside(path)) as note:  # the note takes its place first
            with create(part) as file:
                import torch  # not above: the launcher of a sweep looks for checkpoints, and needs no torch

                torch.save(dict(checkpoint), file)
                flush(file)
            # of what lies there, not of what was told of it: two failures in a row are survived as well
            before = digest(path) if path.is_file() else None
            told = {"sha256": digest(part), "before": before, "bytes": part.stat().st_size}
            _write_note(note, told | {"step": checkpoint.get("global_step")})
            if path.name == LAST and before is not None:
                _keep(path, before)
        if not sync_folder(path.parent):
            warn("this file system cannot flush a folder: a power failure may cost the last checkpoint")
    except (OSError, RuntimeError) as error:  # torch tells a full disk by a RuntimeError
        what = f"the checkpoint could not be written: {error}"
        raise ResourceError(
            what, str(path), "free space on the disk, or choose another folder with dir=..."
        ) from error


def _remove_parts(path: Path) -> None:
    """Remove the parts of writers that were killed: each has the size of a checkpoint."""
    for name in (path.name, PREVIOUS) if path.name == LAST else (path.name,):
        for left in path.parent.glob(f".{name}*.part"):
            with suppress(OSError):
                left.unlink()


def _write_note(path: Path, told: Mapping[str, Any]) -> None:
    with create(path) as file:
        file.write(json.dumps(told).encode())
        flush(file)


def _keep(path: Path, known: str) -> None:
    """The checkpoint there is, as previous.ckpt too, unless it is damaged; its note first, as in `write`."""
    told = _told(path)
    if told is not None and known not in (told["sha256"], told["before"]):
        return
    old = path.with_name(PREVIOUS)
    earlier = _told(old)
    note = {"sha256": known, "before": earlier and earlier["sha256"], "bytes": path.stat().st_size}
    with replacing(old) as link, replacing(_beside(old)) as part:
        _write_note(part, note | {"step": told and told.get("step")})
        _link(path, link)


def _link(path: Path, to: Path) -> None:
    """Give a file a second name, or copy it where the file system has no second names."""
    try:
        os.link(path, to)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        warn(f"this file system has no hard links: {PREVIOUS} is a copy, and takes time and space")
        with path.open("rb") as file, create(to) as copy:
            shutil.copyfileobj(file, copy, 1 << 20)
            flush(copy)


def _told(path: Path) -> dict[str, Any] | None:
    try:
        told = read_json(_beside(path))
    except (OSError, DataError):
        return None
    return told if {"sha256", "before", "bytes"} <= set(told) else None


def latest(folder: Path) -> Path | None:
    """last.ckpt, or previous.ckpt and a line that says why; None for neither. Raises DataError."""
    found = [folder / name for name in (LAST, PREVIOUS) if (folder / name).is_file()]
    for i, path in enumerate(found):
        try:
            _renew_note(path)
            if _beside(path).exists():
                _verify(path)
            else:
                read_checkpoint(path)
        except DataError as error:
            if i + 1 == len(found):
                raise
            step = (_told(found[i + 1]) or {}).get("step")
            say(f"{error.what}: {path}")
            say(f"using {found[i + 1].name} (step {step}) in its place")
        else:
            return path
    return None


def _renew_note(path: Path) -> None:
    """Write a note anew that a power failure has cut short, if the sums of the archive are right.

    Raises DataError where they are not, or the note cannot be written.
    """
    note = _beside(path)
    if not note.exists() or _told(path) is not None:
        return
    do = "use another checkpoint of the run, or delete the note to load this one unverified"
    damaged = DataError("the note of the checkpoint is damaged", str(note), do)
    if not _whole(path):
        raise damaged
    told = {"sha256": digest(path), "before": None, "bytes": path.stat().st_size, "step": None}
    try:
        write_file(note, json.dumps(told))
    except ResourceError as error:
        raise damaged from error
    say(f"the note of the checkpoint was damaged, and the checkpoint is whole: {path}")


def _whole(path: Path) -> bool:
    """Return whether each part of the archive has the CRC that it was written with."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (OSError, ValueError, RuntimeError, EOFError, zlib.error, zipfile.BadZipFile):
        return False


def _verify(path: Path) -> None:
    """Raises DataError for a file that is not what its note says, or a note that cannot be read."""
    note = _beside(path)
    if not note.exists():
        return
    try:
        told = json.loads(note.read_text())
        expected, size = (told["sha256"], told["before"]), f"{told['bytes']:,}"
    except (ValueError, KeyError, TypeError) as error:
        do = "use another checkpoint of the run, or delete the note to load this one unverified"
        raise DataError("the note of the checkpoint is damaged", str(note), do) from error
    if digest(path) not in expected:
        what = f"the checkpoint is damaged ({path.stat().st_size:,} bytes, expected {size})"
        raise DataError(what, str(path), "use another checkpoint of the run")


def remove(path: Path) -> None:
    """The file and its note, where they are."""
    path.unlink(missing_ok=True)
    _beside(path).unlink(missing_ok=True)


def read_checkpoint(path: str | Path, map_location: Any = "cpu") -> dict[str, Any]:
    """A checkpoint of diffexp, verified by its digest where that is there, loaded without running code.

    Raises DataError when it is missing, damaged, or not ours.
    """
    path = Path(path)
    if not path.is_file():
        found = sorted(p.name for p in path.parent.glob("*.ckpt")) if path.parent.is_dir() else []
        do = f"there are {', '.join(found)}" if found else "give a run folder or a .ckpt file"
        raise DataError(f"there is no checkpoint {path}", "task.ckpt", do)
    _verify(path)
    judge_archive(path, whole=_beside(path).exists())
    import torch

    try:
        checkpoint = torch.load(path, map_location=map_location, weights_only=True)
    except Exception as error:
        why = " ".join((str(error) or type(error).__name__).split())
        raise DataError(f"not a readable checkpoint: {why[:150]}", str(path), DO) from error
    judge_content(checkpoint, path)
    if not is_dict(checkpoint) or not is_dict(checkpoint.get("diffexp")):
        raise DataError("not a checkpoint of diffexp", str(path), "give a .ckpt file written by task=train")
    return upgraded(checkpoint, path)
