"""A callback that writes down which images each rank was given, for the tests."""

import json
from typing import Any

from lightning import Callback, LightningModule, Trainer


class Seen(Callback):
    """A line for each batch in seen-RANK.jsonl: the step, the images, and the weight of each in the loss."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, *_: Any) -> None:
        index = batch.index.tolist()
        weight = [1.0] * len(index) if batch.weight is None else batch.weight.tolist()
        with open(f"{self.folder}/seen-{trainer.global_rank}.jsonl", "a") as file:
            file.write(json.dumps([trainer.global_step, index, weight]) + "\n")
