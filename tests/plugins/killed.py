"""A callback that kills its own run, for the tests."""

import os
import signal
from typing import Any

from lightning import Callback, LightningModule, Trainer


class Killed(Callback):
    def __init__(self, at: int) -> None:
        self.at = at

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        if trainer.global_step == self.at:
            os.kill(os.getpid(), signal.SIGKILL)
