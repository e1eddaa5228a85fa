"""Check that the run folder can be written to, and that its checkpoints fit the disk, before work starts."""

import shutil
import tempfile
from pathlib import Path

from torch import nn

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


def checkpoint_bytes(module: nn.Module) -> int:
    """Estimate the bytes of a checkpoint: parameters, averages among them, and Adam's two moments."""
    sizes = [(p.numel() * p.element_size(), p.requires_grad) for p in module.parameters()]
    return sum(size * (3 if trained else 1) for size, trained in sizes)
