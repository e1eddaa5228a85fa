"""End a training when its budget is used up (budget.py), and say what it has cost."""

import logging
import time
from typing import Any, cast

from lightning.pytorch import Callback, LightningModule, Trainer

from diffexp.data.batch import Batch
from diffexp.errors import ConfigError
from diffexp.notice import say, warn
from diffexp.training.budget import Budget, Cost
from diffexp.training.flops import flops
from diffexp.training.trained import Trained

SPENT = "spent"
"""The key of a checkpoint with what the training has cost so far."""
_log = logging.getLogger("diffexp")


class Spending(Callback):
    """Count seconds, images and FLOPs, which a checkpoint keeps; stop at the first step at which the budget
    is used up. The first rank's clock counts.

    It has to act before the checkpoint is written. Raises ConfigError for a network whose work cannot be
    counted, where that ends the training.
    """

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self.seconds, self.images, self.flops = 0.0, 0, 0
        self.each = dict[str, int | None]()
        """FLOPs of an image, by the shape of the batch: 8x8."""
        self.ended: str | None = None
        self._since, self._before = 0.0, 0

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        assert isinstance(pl_module, Trained)
        pl_module.shares = lambda: self.budget.shares(self.seconds, self.flops)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._since, self._before = time.perf_counter() - self.seconds, trainer.global_step
        self._stop(trainer)  # a run that was killed after its last step

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        shape = "x".join(map(str, (batch.image if batch.latent is None else batch.latent).shape[2:]))
        if shape not in self.each:
            self.each[shape] = self._counted(trainer, cast(Trained, pl_module), batch)
        images = trainer.world_size * len(batch.image)
        self.images += images
        self.flops += images * (self.each[shape] or 0)

    def _counted(self, trainer: Trainer, module: Trained, batch: Batch) -> int | None:
        try:
            each = flops(*module.passes(batch))
        except (RuntimeError, NotImplementedError, TypeError, ValueError) as error:
            what = f"the work of this network cannot be counted: {type(error).__name__}: {error}"
            if self.budget.max_flops is not None:
                raise ConfigError(
                    what, "trainer.max_flops", "type trainer.max_time=... in its place"
                ) from error
            warn(what)
            return None
        if trainer.is_global_zero and not self.each:
            _tell(f"{each:.4g} FLOPs an image, forward and backward, of the network")
        return each

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        seconds = time.perf_counter() - self._since
        if trainer.world_size > 1 and self.budget.max_time is not None:
            seconds = cast(float, trainer.strategy.broadcast(seconds))
        self.seconds = seconds
        if trainer.global_step > self._before:  # with accumulation, several batches make a step
            self._before = trainer.global_step
            self._stop(trainer)

    def _stop(self, trainer: Trainer) -> None:
        self.ended = self.budget.ended_by(self.seconds, self.flops)
        if self.ended is not None:
            trainer.should_stop = True

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._paused = time.perf_counter()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._since += time.perf_counter() - self._paused

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.is_global_zero:
            _tell(self.cost(trainer).words())
            if self.ended is not None and trainer.global_step == 1:
                warn(f"trainer.{self.ended} was used up by the first step, and no other was done: give more")

    def cost(self, trainer: Trainer) -> Cost:
        """Return what the training has cost, and which limit has ended it."""
        known = all(each is not None for each in self.each.values())
        by_steps = trainer.global_step >= (trainer.max_steps or 0)
        ended = self.ended or ("max_steps" if by_steps else "another limit")
        return Cost(ended, trainer.global_step, self.seconds, self.images, self.flops if known else None)

    # not as Lightning's state of a callback, which a run that goes on without a budget would miss
    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        counts = {"seconds": self.seconds, "images": self.images, "flops": self.flops}
        checkpoint[SPENT] = counts | {"each": dict(self.each)}

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Go on counting. Raises TypeError, ValueError or KeyError for what was never written."""
        if (spent := checkpoint.get(SPENT)) is None:
            return
        self.seconds = float(spent["seconds"])
        self.images, self.flops = (int(spent[key]) for key in ("images", "flops"))
        self.each = {str(k): None if v is None else int(v) for k, v in spent["each"].items()}
        if not 0 <= self.seconds < float("inf") or min(self.images, self.flops) < 0:
            raise ValueError("what the training has cost is negative, or not finite")


def _tell(text: str) -> None:
    say(text)
    _log.info("%s", text)
