"""The check of the state that a checkpoint has restored, before the first step: it may have been edited."""

from collections.abc import Mapping
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.optim import Optimizer

MOMENTS = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq", "momentum_buffer")


class CheckRestored(Callback):
    """`begun` is set at the first step, after which an error is no longer the checkpoint's.

    Raises ValueError or TypeError for states of the optimizer, of the learning rate and of the loops that
    would end in an error, or in another training, at some step.
    """

    def __init__(self) -> None:
        self.begun = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for optimizer in trainer.optimizers:
            _check_optimizer(optimizer)
        for config in trainer.lr_scheduler_configs:
            schedule: Any = config.scheduler
            if schedule.optimizer not in trainer.optimizers:
                raise TypeError("the learning rate is of another optimizer")
            _check_number("last_epoch", schedule.last_epoch)
            for base in schedule.base_lrs:
                _check_number("base_lrs", base)
        for name, state in trainer.fit_loop.state_dict().items():
            if name.endswith("progress"):
                _check_counts(name, state)
        self.begun = True


def _check_optimizer(optimizer: Optimizer) -> None:
    for group in optimizer.param_groups:
        _check_number("lr", group["lr"])
        for p in group["params"]:
            state = optimizer.state.get(p, {})
            wanted = ("step", "exp_avg", "exp_avg_sq") if isinstance(optimizer, torch.optim.Adam) else ()
            for name in wanted if state else ():
                if name not in state:
                    raise ValueError(f"the state of the optimizer has no {name}")
            for name in (n for n in MOMENTS if n in state):
                if not isinstance(state[name], Tensor) or state[name].shape != p.shape:
                    shape = tuple(getattr(state[name], "shape", ()))
                    raise ValueError(
                        f"{name} of the optimizer has shape {shape}, the weights {tuple(p.shape)}"
                    )
            if "step" in state and not isinstance(state["step"], Tensor):
                _check_number("step", state["step"])


def _check_number(name: str, value: Any) -> None:
    if not isinstance(value, (int, float, Tensor)):
        raise TypeError(f"{name} is {type(value).__name__}, and no number")


def _check_counts(name: str, value: Any) -> None:
    if isinstance(value, Mapping):
        for key, part in value.items():
            _check_counts(f"{name}.{key}", part)
    elif not isinstance(value, int) or value < 0:
        raise ValueError(f"{name} is {value!r}, and no count")
