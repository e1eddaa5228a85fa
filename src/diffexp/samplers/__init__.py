"""Samplers: loops over pairs of times. Imports torch and the core only."""

from diffexp.samplers.ddim import DDIM
from diffexp.samplers.ddpm import DDPM
from diffexp.samplers.generate import generate, labels_for, sample
from diffexp.samplers.grid import Spacing, grid
from diffexp.samplers.model import Model, nfe
from diffexp.samplers.sampler import Sampler

__all__ = ["DDIM", "DDPM", "Model", "Sampler", "Spacing", "generate", "grid", "labels_for", "nfe", "sample"]
