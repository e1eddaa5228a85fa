"""Checkpoints that are whole or not there.

A file is written beside its place, flushed to the disk, and moved there in one step. Its digest is in a JSON
beside it, which is replaced first and names the digest of the file before as well: whenever the power fails,
what lies there is one of the two.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from diffexp.errors import DataError, ResourceError
from diffexp.training.archive import DO, judge_archive, judge_content

LAST, PREVIOUS = "last.ckpt", "previous.ckpt"


def digest(path: Path) -> str:
    """sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _beside(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def write(path: Path, checkpoint: Mapping[str, Any]) -> None:
    """All of it or nothing. Raises ResourceError."""
    part, note = path.with_name(f".{path.name}.part"), _beside(path).with_name(f".{path.name}.json.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        needed, free = path.stat().st_size if path.exists() else 0, shutil.disk_usage(path.parent).free
        if needed > free:
            raise OSError(f"it has about {needed >> 20:,} MB, and {free >> 20:,} MB are free")
        with part.open("wb") as file:
            import torch  # not above: the launcher of a sweep looks for checkpoints, and needs no torch

            torch.save(dict(checkpoint), file)
            _flush(file.fileno(), file)
        # of what lies there, not of what was told of it: two failures in a row are survived as well
        before = digest(path) if path.is_file() else None
        told = {"sha256": digest(part), "before": before, "bytes": part.stat().st_size}
        told["step"] = checkpoint.get("global_step")
        with note.open("w") as file:
            json.dump(told, file)
            _flush(file.fileno(), file)
        if path.name == LAST and before is not None:
            _keep(path, before)
        os.replace(note, _beside(path))
        os.replace(part, path)
        folder = os.open(path.parent, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)
    except (OSError, RuntimeError) as error:  # torch tells a full disk by a RuntimeError
        for left in (part, note):
            with suppress(OSError):
                left.unlink()
        what = f"the checkpoint could not be written: {error}"
        raise ResourceError(
            what, str(path), "free space on the disk, or choose another folder with dir=..."
        ) from error


def _keep(path: Path, known: str) -> None:
    """The checkpoint there is, as previous.ckpt too, unless it is damaged; its note first, as in `write`."""
    told = _told(path)
    if told is not None and known not in (told["sha256"], told["before"]):
        return
    old, link = path.with_name(PREVIOUS), path.with_name(f".{PREVIOUS}.part")
    earlier = _told(old)
    note = {"sha256": known, "before": earlier and earlier["sha256"], "bytes": path.stat().st_size}
    part = _beside(old).with_name(f".{PREVIOUS}.json.part")
    part.write_text(json.dumps(note | {"step": told and told.get("step")}))
    link.unlink(missing_ok=True)
    os.link(path, link)
    os.replace(part, _beside(old))
    os.replace(link, old)


def _told(path: Path) -> dict[str, Any] | None:
    try:
        told = json.loads(_beside(path).read_text())
        return told if {"sha256", "before"} <= set(told) else None
    except (OSError, ValueError, TypeError):
        return None


def latest(folder: Path) -> Path | None:
    """last.ckpt, or previous.ckpt and a line that says why; None for neither. Raises DataError."""
    found = [folder / name for name in (LAST, PREVIOUS) if (folder / name).is_file()]
    for i, path in enumerate(found):
        try:
            if _beside(path).exists():
                _verify(path)
            else:
                read_checkpoint(path)
        except DataError as error:
            if i + 1 == len(found):
                raise
            step = (_told(found[i + 1]) or {}).get("step")
            print(f"{error.what}: {path}", flush=True)
            print(f"using {found[i + 1].name} (step {step}) in its place", flush=True)
        else:
            return path
    return None


def _flush(number: int, file: Any) -> None:
    file.flush()
    os.fsync(number)


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
    if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get("diffexp"), dict):
        raise DataError("not a checkpoint of diffexp", str(path), "give a .ckpt file written by task=train")
    return checkpoint
