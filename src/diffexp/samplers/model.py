"""A trained model: all that sampling needs."""

from dataclasses import dataclass

import torch

from diffexp.diffusion.clip import Clip, Clipped
from diffexp.diffusion.codec import Codec
from diffexp.diffusion.conditioning import Conditioning
from diffexp.diffusion.denoiser import Denoise, Denoiser
from diffexp.diffusion.guidance import ClassifierFree, Guided
from diffexp.errors import ConfigError
from diffexp.samplers.sampler import Sampler


@dataclass(frozen=True)
class Model:
    """shape: (C, H, W) of the images; classes: the number that the network was built for, or None."""

    denoiser: Denoiser
    conditioning: Conditioning
    codec: Codec
    shape: tuple[int, int, int]
    classes: int | None = None

    def guided(self, guidance: ClassifierFree, clip: Clip) -> Denoise:
        """The denoiser under guidance, clipped after it."""
        schedule = self.denoiser.schedule
        if self.classes is None:
            return Clipped(self.denoiser, schedule, clip)
        null = torch.tensor(self.classes)
        return Clipped(Guided(self.denoiser, schedule, guidance, null), schedule, clip)

    def check(self, sampler: Sampler, guidance: ClassifierFree) -> None:
        """Raises ConfigError for a grid or a guidance that this model cannot do."""
        sampler.grid(self.denoiser.schedule)
        if guidance.scale != 1 and not self.conditioning.guidable:
            do = "give guidance.scale=1, or train with conditioning=class conditioning.dropout=0.1"
            what = f"guidance.scale={guidance.scale:g} needs a model trained with and without its condition"
            raise ConfigError(what, "guidance.scale", do)


def nfe(sampler: Sampler, guidance: ClassifierFree, model: Model) -> int:
    """Evaluations of the network for one image: two for each call that is guided."""
    ratios = model.denoiser.schedule(sampler.calls(model.denoiser.schedule)).ratio.tolist()
    return sum(guidance.calls(r) if model.classes is not None else 1 for r in ratios)
