"""The mathematics: schedule → prediction → denoiser → objective. Imports torch only."""

from diffexp.diffusion.clip import Clipped, Dynamic, NoClip, Static
from diffexp.diffusion.codec import Pixels
from diffexp.diffusion.conditioning import ClassLabel, Unconditional
from diffexp.diffusion.denoiser import Denoiser, Prediction
from diffexp.diffusion.guidance import ClassifierFree, Guided
from diffexp.diffusion.objective import SNR, Chain, Losses, MinSNR, Objective, Uniform
from diffexp.diffusion.prediction import EDM, X0, Eps, V
from diffexp.diffusion.schedule import (
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
from diffexp.diffusion.variance import FixedLarge, FixedSmall, LearnedRange

__all__ = [
    "EDM", "SNR", "X0", "Chain", "ClassLabel", "ClassifierFree", "Clipped", "Denoiser", "Dynamic", "Eps",
    "FixedLarge", "FixedSmall", "Guided", "LearnedRange", "Level", "Losses", "MinSNR", "NoClip", "Objective",
    "Pixels", "Posterior", "Prediction", "Schedule", "Static", "Unconditional", "Uniform", "V", "cosine",
    "linear", "quad", "scaled_linear", "sigmoid", "sigmoid_beta", "with_snr",
]  # fmt: skip
