"""The mathematics: schedule → prediction → denoiser → objective. Imports torch only."""

from .clip import Clipped, Dynamic, NoClip, Static
from .codec import Pixels
from .conditioning import ClassLabel, Unconditional
from .denoiser import Denoiser, Prediction
from .guidance import ClassifierFree, Guided
from .objective import SNR, Chain, Losses, MinSNR, Objective, Uniform
from .prediction import EDM, X0, Eps, V
from .schedule import (
    Level,
    Posterior,
    Schedule,
    cosine,
    linear,
    quad,
    scaled_linear,
    sigmoid,
    sigmoid_beta,
    with_snr,
)
from .variance import FixedLarge, FixedSmall, LearnedRange

__all__ = [
    "EDM", "SNR", "X0", "Chain", "ClassLabel", "ClassifierFree", "Clipped", "Denoiser", "Dynamic", "Eps",
    "FixedLarge", "FixedSmall", "Guided", "LearnedRange", "Level", "Losses", "MinSNR", "NoClip", "Objective",
    "Pixels", "Posterior", "Prediction", "Schedule", "Static", "Unconditional", "Uniform", "V", "cosine",
    "linear", "quad", "scaled_linear", "sigmoid", "sigmoid_beta", "with_snr",
]  # fmt: skip
