"""A trained model: all that sampling needs."""

from dataclasses import dataclass

import torch

from diffexp.diffusion.classifier_guidance import ClassifierGuidance, ClassifierGuided, Classify
from diffexp.diffusion.clip import Clip, Clipped
from diffexp.diffusion.codec import Codec
from diffexp.diffusion.conditioning import Conditioning
from diffexp.diffusion.denoiser import Denoise, Denoiser
from diffexp.diffusion.guidance import Autoguidance, ClassifierFree, Guided
from diffexp.errors import ConfigError


@dataclass(frozen=True)
class Model:
    """shape: (C, H, W) of the images; classes: the number that the network was built for, or None; guide: the
    worse model of autoguidance; classify: the classifier of classifier guidance; weights: which they are, for
    the cards of metrics.
    """

    denoiser: Denoiser
    conditioning: Conditioning
    codec: Codec
    shape: tuple[int, int, int]
    classes: int | None = None
    guide: Denoiser | None = None
    classify: Classify | None = None
    weights: str = "as given"

    @property
    def precision(self) -> str:
        """Of the network: float32, or that of its autocast."""
        return str(self.denoiser.autocast or torch.float32).removeprefix("torch.")

    def guided(self, guidance: ClassifierFree, clip: Clip) -> Denoise:
        """The denoiser under guidance, clipped after it."""
        schedule = self.denoiser.schedule
        if isinstance(guidance, ClassifierGuidance) and self.classify is not None:
            guided = ClassifierGuided(self.denoiser, schedule, guidance, self.classify)
            return Clipped(guided, schedule, clip)
        null = None if self.classes is None else torch.tensor(self.classes)
        guide = self.guide if isinstance(guidance, Autoguidance) else None
        return Clipped(Guided(self.denoiser, schedule, guidance, null, guide), schedule, clip)

    def check(self, guidance: ClassifierFree) -> None:
        """Raise ConfigError for a guidance that this model cannot do."""
        if guidance.scale == 1:
            return
        if isinstance(guidance, Autoguidance):
            if self.guide is None:
                what = "autoguidance needs a worse model beside this one"
                raise ConfigError(what, "guidance.ckpt", "use it in task=sample or task=evaluate")
        elif isinstance(guidance, ClassifierGuidance):
            if self.classify is None:
                what = "classifier guidance needs a classifier of noisy images"
                do = "train one with task=classifier, and use it in task=sample or task=evaluate"
                raise ConfigError(what, "guidance.ckpt", do)
        elif not self.conditioning.guidable:
            do = "give guidance.scale=1, or train with conditioning=class conditioning.dropout=0.1"
            what = f"guidance.scale={guidance.scale:g} needs a model trained with and without its condition"
            raise ConfigError(what, "guidance.scale", do)
