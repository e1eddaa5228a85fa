"""Training with Lightning: the module, averaged weights, checkpoints, loggers, callbacks."""

from diffexp.training.best import Best
from diffexp.training.checkpoint import read_checkpoint
from diffexp.training.ema import EMA, Averages
from diffexp.training.logger import Jsonl, NoTracker, Wandb
from diffexp.training.lr import LearningRate
from diffexp.training.module import DiffusionModule, build_denoiser
from diffexp.training.progress import TrainingProgress
from diffexp.training.saving import AtomicCheckpointIO, Checkpoint

__all__ = [
    "EMA", "AtomicCheckpointIO", "Averages", "Best", "Checkpoint", "DiffusionModule", "Jsonl", "LearningRate",
    "NoTracker", "TrainingProgress", "Wandb", "build_denoiser", "read_checkpoint",
]  # fmt: skip
