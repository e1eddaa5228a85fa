"""The mathematics: schedule → prediction → denoiser → objective. Imports torch only."""

from diffexp.diffusion.classifier_guidance import ClassifierGuidance, ClassifierGuided
from diffexp.diffusion.clip import Clipped, Dynamic, NoClip, Static
from diffexp.diffusion.closed_form import ClosedForm, Gaussian, Ideal, Mixture
from diffexp.diffusion.denoiser import Denoiser, Prediction
from diffexp.diffusion.guidance import Autoguidance, ClassifierFree, Guidance, Guided
from diffexp.diffusion.objective import Losses, Objective, Term
from diffexp.diffusion.prediction import EDM, X0, Eps, Flow, Mean, Timed, V
from diffexp.diffusion.schedule import (
    Level,
    Posterior,
    Schedule,
    cosine,
    flow,
    linear,
    quad,
    scaled_linear,
    sigmoid,
    sigmoid_beta,
    with_snr,
)
from diffexp.diffusion.times import Chain, Importance, LogitNormal, LogNormal, Stratified
from diffexp.diffusion.variance import FixedLarge, FixedSmall, Learned, LearnedRange
from diffexp.diffusion.weighting import (
    P2,
    SNR,
    VLB,
    Debiased,
    EDMWeight,
    MinSNR,
    Sigmoid,
    SoftMinSNR,
    TruncatedSNR,
    Uncertain,
    Uniform,
)

__all__ = [
    "EDM", "P2", "SNR", "VLB", "X0", "Autoguidance", "Chain", "ClassifierFree",
    "ClassifierGuidance", "ClassifierGuided", "Clipped",
    "ClosedForm", "Debiased", "Denoiser", "Dynamic", "EDMWeight", "Eps", "FixedLarge", "FixedSmall",
    "Flow", "Gaussian", "Guidance", "Guided", "Ideal", "Importance",
    "Learned", "LearnedRange", "Level", "LogNormal", "LogitNormal", "Losses", "Mean",
    "MinSNR", "Mixture", "NoClip", "Objective", "Posterior",
    "Prediction", "Schedule", "Sigmoid", "SoftMinSNR", "Static", "Stratified", "Term",
    "Timed", "TruncatedSNR", "Uncertain",
    "Uniform", "V", "cosine", "flow", "linear", "quad", "scaled_linear", "sigmoid", "sigmoid_beta",
    "with_snr",
]  # fmt: skip
