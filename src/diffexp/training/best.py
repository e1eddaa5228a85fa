"""The checkpoint of the best evaluation, beside the last ones."""

import math
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from diffexp.training.tolerance import Tolerance

BEST = "best.ckpt"


class Best(Callback):
    """Write folder/best.ckpt when an evaluation is better than all before it, also those before a
    resumption.

    metric: the key that is looked at, or its beginning: val/fid, whatever the extractor. highest: more is
    better. A checkpoint that cannot be written is reported; three in a row raise ResourceError.
    """

    def __init__(self, folder: str, metric: str = "val/fid", highest: bool = False) -> None:
        self.folder, self.metric, self.highest = folder, metric, highest
        self.value: float | None = None
        self._seen: float | None = None
        do = "free space on the disk, or leave callbacks.best out with '~callbacks.best'"
        self._writing = Tolerance("writing the best checkpoint", do)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        keys = sorted(k for k in trainer.callback_metrics if k.startswith(self.metric))
        value = float(trainer.callback_metrics[keys[0]]) if keys else math.nan
        if not math.isfinite(value) or value == self._seen:  # what an earlier evaluation has left
            return
        self._seen = value
        if self.value is not None and (value <= self.value if self.highest else value >= self.value):
            return
        self.value = value
        with self._writing(trainer.global_step):
            trainer.save_checkpoint(f"{self.folder}/{BEST}", weights_only=False)

    def state_dict(self) -> dict[str, Any]:
        return {"value": self.value, "seen": self._seen}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        values = (state_dict["value"], state_dict["seen"])
        self.value, self._seen = (None if value is None else float(value) for value in values)
