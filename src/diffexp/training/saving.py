"""Save a run: every so many steps, at a signal, and at its end."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.plugins.io import CheckpointIO
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor

from diffexp.config.suggest import goes_on
from diffexp.errors import ConfigError, Interrupted
from diffexp.model.checkpoint import LAST, read_checkpoint, remove, write
from diffexp.training.divergence import Recent
from diffexp.training.signals import Signals
from diffexp.training.tolerance import Tolerance


class AtomicCheckpointIO(CheckpointIO):
    """Write checkpoints whole or not at all, for Trainer(plugins=...): Lightning's own IO copies across file
    systems, and is torn by a kill.

    background: the weights are copied, and written while training goes on; what fails is raised by `wait`, by
    the next save, or at the end. check: called before each.
    """

    def __init__(self, background: bool = False) -> None:
        self.check: Callable[[], None] = lambda: None
        self._thread = ThreadPoolExecutor(1, "checkpoint") if background else None
        self._pending: Future[None] | None = None

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        self.check()
        if self._thread is None:
            return write(Path(path), checkpoint)
        self.wait()
        copy = apply_to_collection(checkpoint, Tensor, lambda x: x.detach().to("cpu", copy=True))
        self._pending = self._thread.submit(write, Path(path), copy)

    @property
    def ended(self) -> bool:
        """True where a write has ended that `wait` was not asked about."""
        return self._pending is not None and self._pending.done()

    def wait(self) -> None:
        """Wait until all is written. Raises ResourceError."""
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def load_checkpoint(
        self, path: Any, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        return read_checkpoint(path, map_location or "cpu")

    def remove_checkpoint(self, path: Any) -> None:
        remove(Path(path))

    def teardown(self) -> None:
        self.wait()
        if self._thread is not None:
            self._thread.shutdown()


@runtime_checkable
class Telling(Protocol):
    """A module that logs what is due at a step when it is asked, and then not again."""

    def tell(self) -> None: ...


class Checkpoint(Callback):
    """Write folder/last.ckpt every `every` steps of the optimizer, and at the end.

    Asked to stop by a signal (signals.py), it ends the step, writes, and raises Interrupted. A checkpoint
    that cannot be written is reported; three in a row raise ResourceError. Raises DivergedError rather than
    replace a good checkpoint by one whose weights are not finite. background: of its `io`, the trainer's
    plugin.
    """

    def __init__(self, folder: str, every: int = 500, background: bool = False) -> None:
        if every < 1:
            raise ConfigError(f"every={every}", "callbacks.checkpoint.every", "give 1 or more steps")
        self.path, self.every, self._written = Path(folder) / LAST, every, 0
        self.io = AtomicCheckpointIO(background)
        self._signals, self._before = Signals(), 0
        do = "free space on the disk; resume goes on from the checkpoint before"
        self._writing = Tolerance("writing a checkpoint", do)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # the first micro-batch of a resumed run ends at the step it was resumed from
        self._written = self._before = trainer.global_step
        self._signals.listen()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._signals.leave()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        whole, self._before = trainer.global_step > self._before, trainer.global_step
        if whole and isinstance(pl_module, Telling):
            pl_module.tell()
        if self.io.ended:
            with self._writing(trainer.global_step):
                self.io.wait()
        if trainer.global_step % self.every == 0:
            self._write(trainer, pl_module)
        if whole and self._asked(trainer):
            self._write(trainer, pl_module, last=True)
            what = f"stopped by {self._signals.heard or 'a signal'} at step {trainer.global_step}, saved"
            raise Interrupted(what, str(self.path), f"{goes_on(self.path.parent.parent)} goes on")

    def asked(self) -> bool:
        """Return whether a signal has asked this process to stop."""
        return self._signals.heard is not None

    def _asked(self, trainer: Trainer) -> bool:
        heard = self.asked()
        return (
            heard if trainer.world_size == 1 else trainer.strategy.reduce_boolean_decision(heard, all=False)
        )

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._signals.leave()
        self._write(trainer, pl_module, last=True)

    def again(self, trainer: Trainer, module: LightningModule) -> None:
        """Write the checkpoint of this step again, if there is one: it is of before the validation, and what
        that has told other callbacks would be lost.
        """
        if trainer.global_step == self._written:
            self._written = -1
            self._write(trainer, module)

    def _write(self, trainer: Trainer, module: LightningModule, last: bool = False) -> None:
        """Write a checkpoint; last: the run ends with it, and a failure is raised."""
        if trainer.global_step == self._written:  # with accumulation, several batches end at one step
            return self.io.wait() if last else None
        recent: Recent = getattr(module, "recent", None) or Recent()
        if recent.bad() or not all(bool(p.isfinite().all()) for p in module.parameters()):
            raise recent.error("the weights are not finite", trainer.global_step)
        # a full disk may be emptied before the next
        with nullcontext() if last else self._writing(trainer.global_step):
            trainer.save_checkpoint(self.path, weights_only=False)
            if last:
                self.io.wait()
            self._written = trainer.global_step
