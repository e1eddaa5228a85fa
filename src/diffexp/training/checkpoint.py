"""Checkpoints that are whole or not there.

A file is written beside its place, flushed to the disk, and moved there in one step. Its digest is in a JSON
beside it, which is replaced first and names the digest of the file before as well: whenever the power fails,
what lies there is one of the two.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.plugins.io import CheckpointIO

from diffexp.errors import ConfigError, DataError, DivergedError, ResourceError

LAST = "last.ckpt"


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
        with part.open("wb") as file:
            torch.save(dict(checkpoint), file)
            _flush(file.fileno(), file)
        # of what lies there, not of what was told of it: two failures in a row are survived as well
        before = digest(path) if path.is_file() else None
        told = {"sha256": digest(part), "before": before, "bytes": part.stat().st_size}
        told["step"] = checkpoint.get("global_step")
        with note.open("w") as file:
            json.dump(told, file)
            _flush(file.fileno(), file)
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
    try:
        checkpoint = torch.load(path, map_location=map_location, weights_only=True)
    except Exception as error:
        why = " ".join((str(error) or type(error).__name__).split())
        what = f"not a readable checkpoint: {why[:150]}"
        raise DataError(
            what, str(path), "use another checkpoint; files that hold code are refused"
        ) from error
    if not isinstance(checkpoint, dict) or "diffexp" not in checkpoint:
        raise DataError("not a checkpoint of diffexp", str(path), "give a .ckpt file written by task=train")
    return checkpoint


class AtomicCheckpointIO(CheckpointIO):
    """For Trainer(plugins=...): Lightning's own copies across file systems, and is torn by a kill."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        write(Path(path), checkpoint)

    def load_checkpoint(
        self, path: Any, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        return read_checkpoint(path, map_location or "cpu")

    def remove_checkpoint(self, path: Any) -> None:
        Path(path).unlink(missing_ok=True)
        _beside(Path(path)).unlink(missing_ok=True)


class Checkpoint(Callback):
    """Writes folder/last.ckpt every `every` steps of the optimizer, and at the end.

    Raises DivergedError rather than replace a good checkpoint by one whose weights are not finite.
    """

    def __init__(self, folder: str, every: int = 500) -> None:
        if every < 1:
            raise ConfigError(f"every={every}", "callbacks.checkpoint.every", "give 1 or more steps")
        self.path, self.every, self._written = Path(folder) / LAST, every, 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # the first micro-batch of a resumed run ends at the step it was resumed from
        self._written = trainer.global_step

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step % self.every == 0:
            self._write(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._write(trainer, pl_module)

    def _write(self, trainer: Trainer, module: LightningModule) -> None:
        if trainer.global_step == self._written:  # with accumulation, several batches end at one step
            return
        if not all(bool(p.isfinite().all()) for p in module.parameters()):
            what = f"the weights are not finite at step {trainer.global_step}"
            raise DivergedError(what, str(self.path), "lower optimizer.lr, or precision=fp32")
        trainer.save_checkpoint(self.path, weights_only=False)
        self._written = trainer.global_step
