"""The progress of training, in steps of the optimizer; under a budget, of about how many."""

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
            self._task = self._bar.add_task("", total=_steps(trainer, pl_module), values="")

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if (heard := listener()) is not None and trainer.is_global_zero:
            heard(_values(trainer), trainer.global_step, _steps(trainer, pl_module) or 0)
        if self._bar is not None:
            done, total = trainer.global_step, _steps(trainer, pl_module)
            values = ", ".join(filter(None, [_budget(trainer, pl_module), _values(trainer)]))
            self._bar.update(self._task, completed=done, total=total, values=values)
        elif trainer.is_global_zero and _tenths(trainer, pl_module) > self._tenth:
            self._tenth = _tenths(trainer, pl_module)
            seconds = f"{time.monotonic() - self._start:.0f} s"
            step = f"step {trainer.global_step}/{_steps(trainer, pl_module)}"
            parts = [step, _budget(trainer, pl_module), seconds, _values(trainer)]
            print(", ".join(filter(None, parts)), flush=True)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._stop()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._stop()

    def _stop(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def _largest(trainer: Trainer, module: LightningModule) -> tuple[float, str]:
    """Return how much of the limit that will end the run is used, 1 for all of it, and its key."""
    shares = dict(module.shares()) if isinstance(module, Trained) else {}
    shares["max_steps"] = trainer.global_step / max(1, trainer.max_steps)
    return max((share, key) for key, share in shares.items())


def _steps(trainer: Trainer, module: LightningModule) -> int | None:
    """Return how many steps there will be: of a budget as many as it has for each so far; None before the
    first.
    """
    share, key = _largest(trainer, module)
    if key == "max_steps" and share:
        return trainer.max_steps
    if not share:
        return None if isinstance(module, Trained) and module.shares() else trainer.max_steps
    return max(trainer.global_step, round(trainer.global_step / share))


def _budget(trainer: Trainer, module: LightningModule) -> str:
    share, key = _largest(trainer, module)
    return "" if key == "max_steps" else f"{100 * min(1, share):.0f} % of {key}"


def _tenths(trainer: Trainer, module: LightningModule) -> int:
    return int(10 * _largest(trainer, module)[0])


def _values(trainer: Trainer) -> str:
    shown = [(k, n) for k, n in _SHOWN if k in trainer.callback_metrics]
    shown += [(k, k.removeprefix("val/")) for k in trainer.callback_metrics if k.startswith("val/fid")]
    return ", ".join(f"{name} {float(trainer.callback_metrics[key]):.4g}" for key, name in shown)
