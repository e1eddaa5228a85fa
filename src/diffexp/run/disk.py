"""Check that the run folder can be written to, and that its checkpoints fit the disk, before work starts."""

import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

from torch import Tensor

from diffexp.errors import ResourceError

COPIES = 3  # last.ckpt, previous.ckpt, and the one that is being written


def check_room(folder: Path, needed: int) -> None:
    """Raise ResourceError where the folder cannot be written to, or has no room for checkpoints of `needed`
    bytes each; leave nothing behind.
    """
    there = folder
    while not there.exists():
        there = there.parent
    try:
        if not there.is_dir():
            raise NotADirectoryError(20, f"{there} is a file")
        with tempfile.TemporaryFile(dir=there) as file:
            file.write(b"room")
            file.flush()
    except OSError as error:
        do = "choose another folder with dir=..., or make this one writable"
        raise ResourceError(f"cannot write to {there}: {error.strerror}", str(folder), do) from error
    free = shutil.disk_usage(there).free
    if COPIES * needed > free:
        what = f"{COPIES} checkpoints of {needed >> 20:,} MB do not fit the {free >> 20:,} MB that are free"
        raise ResourceError(
            what, str(folder), "free space on the disk, or choose another folder with dir=..."
        )


def checkpoint_bytes(stored: Iterable[Tensor], trained: Iterable[Tensor]) -> int:
    """Estimate the bytes of a checkpoint: what is stored, and Adam's two moments of what is trained."""
    return sum(x.nbytes for x in stored) + 2 * sum(x.nbytes for x in trained)
