"""The ground of all kinds of training: what they log and when, and the learning rate of a resumed run."""

import math
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from diffexp.data.batch import Batch
from diffexp.training.divergence import Recent
from diffexp.training.lr import LearningRate
from diffexp.training.tolerance import Tolerance


class Sums(Protocol):
    """Sums of what is logged (meter.py, autoencoder_meter.py)."""

    def take(self, over_ranks: Callable[[Tensor], Tensor]) -> dict[str, float]:
        """Return the means over all ranks, train/loss among them, and start anew."""
        ...

    def pause(self) -> None: ...

    def go_on(self) -> None: ...


class Trained(LightningModule):
    """A module that logs its sums once at each step that is due. config: plain values, stored in the
    checkpoint.
    """

    shares: Callable[[], Mapping[str, float]]
    """Returns how much of each limit of its budget the training has used, 1 for all of it, by its key."""
    optimizer_count: int = 1
    """How many optimizers it has, each with a learning rate."""

    def __init__(self, lr: LearningRate, meter: Any, config: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        self.lr, self.meter, self.config = lr, meter, dict(config or {})
        self.recent, self._told, self.shares = Recent(), 0, dict
        self._telling = Tolerance("telling a logger", "see that the disk is not full, or type logger=none")

    @property
    def scaled(self) -> bool:
        """Return whether the gradient is scaled, and may overflow: the scaler then leaves the step out."""
        return False

    def used(self) -> float:
        """Return how much of its budget the training has used, 1 for all of it; 0 where it has none."""
        return max(self.shares().values(), default=0.0)

    def rate(self, step: int) -> float:
        """Return the factor of the learning rate at `step`."""
        return self.lr(step, self.used())

    def passes(self, batch: Batch) -> tuple[nn.Module, Callable[[Any], Tensor]]:
        """Return the network, and how it is called for an image like those of a batch: its work is counted.
        Raises TypeError where that is not known.
        """
        raise TypeError(f"{type(self).__name__} does not say how its network is called")

    def on_train_start(self) -> None:
        self._told = self.global_step  # a resumed run does not tell its first step again
        for config in self.trainer.lr_scheduler_configs:
            schedule = config.scheduler
            if isinstance(schedule, LambdaLR):  # with more steps than before, the rate is that of its step
                parts = (schedule.optimizer.param_groups, schedule.base_lrs, schedule.lr_lambdas)
                for group, base, factor in zip(*parts, strict=True):
                    rate = base * factor(schedule.last_epoch)
                    group["lr"] = group["lr"].fill_(rate) if isinstance(group["lr"], Tensor) else rate

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        self.tell()

    def tell(self) -> None:
        """Tells what is due at this step, once. A checkpoint comes after it, or the run that goes on from
        there would count these images in its next line.
        """
        trainer, step = self.trainer, self.global_step
        # with accumulation, several batches end at one step
        if step % trainer.log_every_n_steps or step == self._told:  # type: ignore[attr-defined]
            return
        self._told = step
        values = self.meter.take(lambda sums: trainer.strategy.reduce(sums, reduce_op="sum"))
        if not math.isfinite(values["train/loss"]):
            raise self.recent.error("the loss is not finite", step)
        if not self.scaled and not math.isfinite(values.get("train/grad_norm", 0)):
            raise self.recent.error("the gradient is not finite", step)
        values["train/lr"] = trainer.optimizers[0].param_groups[0]["lr"]
        self.log_dict(values, logger=False, batch_size=1)  # for callbacks
        with self._telling(step):
            for logger in trainer.loggers:
                logger.log_metrics(values, step=step)

    def on_validation_start(self) -> None:
        self.meter.pause()

    def on_validation_end(self) -> None:
        self.meter.go_on()
