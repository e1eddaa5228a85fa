"""Find where a loss or a weight stopped being finite: at which step, for which images, at which times.

Micro-batches are remembered as they lie on the device. Nothing is read until values are logged, or a
checkpoint is written: no step waits for the device.
"""

from collections import deque

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from diffexp.errors import DivergedError

DURING = "training"
DO = "lower optimizer.lr, type precision=fp32, or on_divergence=rollback to go on from the checkpoint"


class Recent:
    """The last micro-batches of this rank."""

    def __init__(self, keep: int = 200) -> None:
        self._kept: deque[tuple[int, Tensor, Tensor | None, Tensor]] = deque(maxlen=keep)

    def add(self, step: int, index: Tensor, each: Tensor, t: Tensor | None = None) -> None:
        """Remember a micro-batch. step: of the optimizer, before it; index, each, t: the numbers of its
        images, their losses, and their times where they have such, (B,).
        """
        self._kept.append((step, index, t, each))

    def bad(self) -> bool:
        """Return whether the loss of any of these images was not finite; waits for the device."""
        return not all(bool(each.isfinite().all()) for *_, each in self._kept)

    def error(self, what: str, step: int) -> DivergedError:
        """Return the error to raise at `step`, with the first images whose loss, if any, was not finite."""
        for at, index, t, each in self._kept:
            bad = ~each.isfinite().cpu()
            if not bad.any():
                continue
            images = index.cpu()[bad].tolist()
            times = [] if t is None else t.cpu()[bad].tolist()
            which = [f"{i} at t = {u:.4g}" for i, u in zip(images, times, strict=False)] or map(str, images)
            shown = ", ".join([*which][:3])
            more = f" and {len(images) - 3} more" if len(images) > 3 else ""
            diverged = DivergedError(
                f"the loss is not finite at step {at + 1}: images {shown}{more}", DURING, DO
            )
            values = [str(v) for v in each.cpu()[bad].tolist()]  # JSON has no NaN
            diverged.details = {"step": at + 1, "images": images, "t": times, "loss": values}
            return diverged
        diverged = DivergedError(f"{what} at step {step}", DURING, DO)
        diverged.details = {"step": step, "images": [], "t": [], "loss": []}
        return diverged


class LowerRate(Callback):
    """Multiply the learning rate by `factor` from the first step after a roll-back; checkpoints keep it."""

    def __init__(self, factor: float = 0.5) -> None:
        self.factor = factor

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for optimizer in trainer.optimizers:
            for group in optimizer.param_groups:
                group["lr"] *= self.factor
                group["initial_lr"] = self.factor * group.get("initial_lr", group["lr"])
        for config in trainer.lr_scheduler_configs:
            config.scheduler.base_lrs = [self.factor * lr for lr in config.scheduler.base_lrs]
