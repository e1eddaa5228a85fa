"""task=interpolate: images along great circles between two noises. DDIM paper, figure 6."""

from dataclasses import dataclass

import torch

from diffexp.config.build import build
from diffexp.errors import ConfigError
from diffexp.model.ask import ask
from diffexp.model.model import Model
from diffexp.pictures import grid, save
from diffexp.randomness import Noise
from diffexp.run.console import near, say
from diffexp.run.folder import Record
from diffexp.run.job import Job, Task, device_of
from diffexp.run.ready import ready
from diffexp.samplers import check, slerp


@dataclass(frozen=True)
class Interpolate(Task):
    """ckpt: a checkpoint or a run folder; n: pairs of noises; points: images on the way between two.

    classes: their numbers, in turn, None for all; text: captions, in turn; ema: the averaged weights.
    """

    ckpt: str | None = None
    n: int = 10
    points: int = 9
    classes: tuple[int, ...] | None = None
    text: tuple[str, ...] | None = None
    ema: bool | float = True

    def __post_init__(self) -> None:
        if self.n < 1 or self.points < 2:
            raise ConfigError(f"n={self.n}, points={self.points}", "task", "give n from 1 and points from 2")

    def check(self, job: Job) -> None:
        device_of(job)
        restored, nodes = ready(job, self.ckpt, self.ema)
        parts = [build(nodes[key], key, job.allowed) for key in ("sampler", "guidance")]
        check(restored.model, *parts)
        ask(restored.model, self.n, self.classes, self.text)

    @torch.no_grad()
    def run(self, job: Job, record: Record) -> None:
        restored, nodes = ready(job, self.ckpt, self.ema, measure=True)
        sampler, guidance, clip = (build(nodes[k], k, job.allowed) for k in ("sampler", "guidance", "clip"))
        device = device_of(job)
        model = restored.model.to(device)
        ends = [self._noise(model, job.config["seed"], side, device) for side in (0, 1)]
        way = slerp(ends[0](0), ends[1](0), torch.linspace(0, 1, self.points)).transpose(0, 1).flatten(0, 1)
        asked = ask(model, self.n, self.classes, self.text)
        denoise, cond = model.denoise(guidance, clip, asked.to(device))
        cond = None if cond is None else cond.repeat_interleave(self.points)

        def noise(k: int) -> torch.Tensor:
            # a sampler with noise of its own adds the same all along the way
            return way if k == 0 else ends[0](k).repeat_interleave(self.points, 0)

        x = sampler.sample(denoise, model.denoiser.schedule, noise, cond)
        names, labels = restored.class_names, asked.label
        words = None if labels is None else [names[i] if names else str(i) for i in labels.tolist()]
        heads = None if words is None else [word for word in words for _ in range(self.points)]
        picture = job.folder / "samples" / "interpolated.png"
        save(grid(model.codec.decode(x).cpu(), heads, self.points), picture)
        record.results |= {"picture": str(picture), "n": self.n, "sampler": repr(sampler)}
        say(f"{self.n} ways of {self.points} images by {sampler}: {near(picture)}")

    def _noise(self, model: Model, seed: int, side: int, device: torch.device) -> Noise:
        return Noise(seed, 2 * torch.arange(self.n) + side, model.latent_shape, device)
