"""Training with Lightning: the module, its data, averaged weights, checkpoints, loggers, callbacks.

A name is imported when it is first used: reading a checkpoint, say, needs no Lightning.
"""

from importlib import import_module
from typing import Any

_FILES = {
    "EMA": "ema", "Adversarial": "autoencoder_adversarial", "AtomicCheckpointIO": "saving",
    "AutoencoderModule": "autoencoder_module", "Averages": "ema", "Best": "best", "Checkpoint": "saving",
    "Csv": "csv_file", "DataModule": "data_module", "DiffusionModule": "module",
    "EarlyStopping": "early_stopping", "Jsonl": "logger", "LearningRate": "lr", "NoTracker": "tracker",
    "PriorImages": "prior_images",
    "TensorBoard": "tensorboard", "Trackio": "trackio", "TrainingProgress": "progress", "Wandb": "wandb",
}  # fmt: skip
__all__ = [*_FILES]


def __getattr__(name: str) -> Any:
    if name in _FILES:
        return getattr(import_module(f"diffexp.training.{_FILES[name]}"), name)
    raise AttributeError(f"diffexp.training has no {name}")
