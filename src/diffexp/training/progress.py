"""The progress of training, in steps of the optimizer."""

import sys
import time
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from diffexp.progress import listener
from diffexp.training.trained import Trained

_SHOWN = (("train/loss", "loss"), ("val/loss", "val loss"), ("train/images_per_s", "images/s"))


class TrainingProgress(Callback):
    """Show a bar on a terminal; elsewhere print a line at the start of each tenth of the steps or budget."""

    def __init__(self) -> None:
        self._bar: Progress | None = None
        self._tenth, self._start = 0, 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._start, self._tenth = time.monotonic(), _tenths(trainer, pl_module)
        if trainer.is_global_zero and sys.stdout.isatty():
            self._bar = Progress(
                TextColumn("training"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[values]}"),
            )
            self._bar.start()
            self._task = self._bar.add_task("", total=trainer.max_steps, values="")

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if (heard := listener()) is not None and trainer.is_global_zero:
            heard(_values(trainer), trainer.global_step, trainer.max_steps)
        if self._bar is not None:
            self._bar.update(self._task, completed=trainer.global_step, values=_values(trainer))
        elif trainer.is_global_zero and _tenths(trainer, pl_module) > self._tenth:
            self._tenth = _tenths(trainer, pl_module)
            seconds = f"{time.monotonic() - self._start:.0f} s"
            parts = [f"step {trainer.global_step}/{trainer.max_steps}", seconds, _values(trainer)]
            print(", ".join(filter(None, parts)), flush=True)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._stop()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._stop()

    def _stop(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def _tenths(trainer: Trainer, module: LightningModule) -> int:
    used = module.used() if isinstance(module, Trained) else 0.0
    return max(10 * trainer.global_step // max(1, trainer.max_steps), int(10 * used))


def _values(trainer: Trainer) -> str:
    shown = [(k, n) for k, n in _SHOWN if k in trainer.callback_metrics]
    shown += [(k, k.removeprefix("val/")) for k in trainer.callback_metrics if k.startswith("val/fid")]
    return ", ".join(f"{name} {float(trainer.callback_metrics[key]):.4g}" for key, name in shown)
