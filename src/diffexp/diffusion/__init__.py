"""The mathematics: schedule → prediction → denoiser → objective. Imports torch only."""

from diffexp.diffusion.classifier_guidance import ClassifierGuidance, ClassifierGuided
from diffexp.diffusion.clip import Clipped, Dynamic, NoClip, Static
from diffexp.diffusion.closed_form import ClosedForm, Gaussian, Ideal, Mixture
from diffexp.diffusion.codec import Pixels
from diffexp.diffusion.conditioning import ClassLabel, Unconditional
from diffexp.diffusion.denoiser import Denoiser, Prediction
from diffexp.diffusion.guidance import Autoguidance, ClassifierFree, Guided
from diffexp.diffusion.objective import Losses, Objective
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
from diffexp.diffusion.times import Chain, LogitNormal, LogNormal, Stratified
from diffexp.diffusion.variance import FixedLarge, FixedSmall, LearnedRange
from diffexp.diffusion.weighting import (
    P2,
    SNR,
    Debiased,
    EDMWeight,
    MinSNR,
    Sigmoid,
    SoftMinSNR,
    TruncatedSNR,
    Uniform,
)

__all__ = [
    "EDM", "P2", "SNR", "X0", "Autoguidance", "Chain", "ClassLabel", "ClassifierFree",
    "ClassifierGuidance", "ClassifierGuided", "Clipped",
    "ClosedForm", "Debiased", "Denoiser", "Dynamic", "EDMWeight", "Eps", "FixedLarge", "FixedSmall",
    "Gaussian", "Guided", "Ideal", "LearnedRange", "Level", "LogNormal", "LogitNormal", "Losses", "MinSNR",
    "Mixture", "NoClip", "Objective", "Pixels", "Posterior",
    "Prediction", "Schedule", "Sigmoid", "SoftMinSNR", "Static", "Stratified", "TruncatedSNR",
    "Unconditional", "Uniform", "V", "cosine", "linear", "quad", "scaled_linear", "sigmoid", "sigmoid_beta",
    "with_snr",
]  # fmt: skip
