"""A trained model: all that sampling needs."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch

from diffexp.diffusion.classifier_guidance import ClassifierGuidance, ClassifierGuided, Classify
from diffexp.diffusion.clip import Clip, Clipped
from diffexp.diffusion.codec import Codec
from diffexp.diffusion.conditioning import Conditioning
from diffexp.diffusion.denoiser import Denoise, Denoiser
from diffexp.diffusion.guidance import Autoguidance, ClassifierFree, Guided
from diffexp.diffusion.schedule import Schedule
from diffexp.errors import ConfigError
from diffexp.samplers.sampler import GridSampler, Sampler, check_start


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

    def check(self, sampler: Sampler, guidance: ClassifierFree) -> None:
        """Raises ConfigError for a grid or a guidance that this model cannot do."""
        check_start(self.denoiser.schedule, sampler)
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


@contextmanager
def counted(model: Model) -> Iterator[list[int]]:
    """How many images each call gave to a network meanwhile: what an adaptive sampler needs."""
    seen: list[int] = []
    parts = [d.network for d in (model.denoiser, model.guide) if d is not None]
    hooks = [part.register_forward_pre_hook(lambda _, given: seen.append(len(given[0]))) for part in parts]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def with_calls(sampler: Sampler, calls: int, schedule: Schedule) -> Sampler:
    """The sampler with as many steps as make at most that many calls. Raises ConfigError if none does."""
    if not isinstance(sampler, GridSampler):
        raise ConfigError(f"{sampler} chooses its steps itself", "task.calls", "leave task.calls away")
    steps = calls
    while steps > 0:
        try:
            made = replace(sampler, steps=steps)
            count = len(made.calls(schedule))
            if count <= calls:
                return made
            # calls go about with steps: leap near, then go one by one
            steps = min(steps - 1, calls * steps // count + 2)
        except ConfigError:
            steps -= 1
    what = f"no number of steps of this sampler makes {calls} calls or less"
    raise ConfigError(what, "task.calls", "give more")


def nfe(sampler: Sampler, guidance: ClassifierFree, model: Model) -> int:
    """Evaluations of a network for one image: two for each call that is guided."""
    schedule = model.denoiser.schedule
    times = sampler.calls(schedule)
    guidable = model.classes is not None or isinstance(guidance, Autoguidance)
    return int(guidance.calls(times, schedule).sum()) if guidable else len(times)
