"""task=encode: encode test images to noise along the flow and back, and measure the loss. DDIM, table 2."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from diffexp.config.build import build
from diffexp.data import DataSet
from diffexp.errors import ConfigError
from diffexp.model.restore import Restored
from diffexp.pictures import grid, save
from diffexp.run.console import near, say
from diffexp.run.folder import Record
from diffexp.run.job import Job, Task, device_of
from diffexp.run.ready import check_images, ready
from diffexp.samplers import DDIM, check, encode


@dataclass(frozen=True)
class Encode(Task):
    """ckpt: a checkpoint or a run folder; n: images of the test split; ema: the averaged weights."""

    ckpt: str | None = None
    n: int = 100
    ema: bool | float = True

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ConfigError(f"n={self.n}", "task.n", "give 1 or more")

    def check(self, job: Job) -> None:
        device_of(job)
        restored, parts, data = self._ready(job)
        data.check()
        check(restored.model, parts["sampler"], parts["guidance"])
        check_images(restored.model, data)

    def _ready(self, job: Job) -> tuple[Restored, dict[str, Any], DataSet]:
        restored, nodes = ready(job, self.ckpt, self.ema)
        parts = {key: build(nodes[key], key, job.allowed) for key in ("sampler", "guidance", "clip")}
        if not isinstance(parts["sampler"], DDIM) or parts["sampler"].eta != 0:
            raise ConfigError(
                "encoding follows the ODE of DDIM", "sampler", "type sampler=ddim sampler.eta=0"
            )
        return restored, parts, build(nodes["data"], "data", job.allowed)

    @torch.no_grad()
    def run(self, job: Job, record: Record) -> None:
        restored, parts, data = self._ready(job)
        device = device_of(job)
        model = restored.model.to(device)
        batch = next(iter(data.batches("test", self.n)))
        denoise, cond = model.denoise(parts["guidance"], parts["clip"], batch.asked.to(device))
        schedule = model.denoiser.schedule
        x0, sampler = model.codec.encode(batch.image.to(device)), parts["sampler"]
        *_, noise = encode(denoise, schedule, sampler, x0, cond)
        back = sampler.sample(denoise, schedule, lambda k: noise, cond)
        mse = float(((back - x0) / (2 if model.codec.pixels else 1)).square().mean())  # of 1, of a variance 1
        picture = job.folder / "samples" / "reconstructed.png"
        save(_pairs(batch.image, model.codec.decode(back).cpu()), picture)
        values = {"mse": mse, "n": len(x0), "steps": sampler.steps, "noise_std": float(noise.std())}
        record.results |= values | {"picture": str(picture)}
        say(f"{len(x0)} test images, {sampler.steps} steps each way: mean squared error {mse:.5f} of 1")
        say(f"the noise has mean {float(noise.mean()):.3f} and standard deviation {float(noise.std()):.3f}")
        say(f"picture: {near(picture)}   everything: {near(job.folder)}/")


def _pairs(images: Tensor, back: Tensor, most: int = 10) -> Any:
    """Draw rows of images, each above its reconstruction."""
    shown = []
    labels: list[str] = []
    for i in range(0, min(len(images), 4 * most), most):
        for name, part in (("image", images[i : i + most]), ("there and back", back[i : i + most])):
            shown.append(part)
            labels += [name] * len(part)
    return grid(torch.cat(shown), labels)
