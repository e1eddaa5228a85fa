"""task=likelihood: bits per dimension of real images, by the variational bound and where they are spent, or
by the probability flow.
"""

import csv
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from diffexp.condition import Condition
from diffexp.config.build import build
from diffexp.data import DataSet
from diffexp.diffusion import Clipped, bound, probability_flow
from diffexp.diffusion.likelihood import Bits, bits_per_dim
from diffexp.errors import ConfigError, DataError
from diffexp.model.restore import Restored
from diffexp.progress import counting
from diffexp.randomness import Noise, key
from diffexp.run.console import near, say
from diffexp.run.folder import Record
from diffexp.run.job import Job, Task, device_of
from diffexp.run.ready import check_images, ready
from diffexp.tasks.likelihood_results import interval, tell_bound, tell_flow, words, written

IMAGES = "likelihood_images.csv"
CDF = {"erf": torch.special.ndtr, "tanh": bound.tanh_cdf}


@dataclass(frozen=True)
class Likelihood(Task):
    """ckpt: a checkpoint or a run folder; n: images of `split`.

    method=bound: steps: terms, None for all of the chain, else one at random in each of as many parts;
    decoder: the normal distribution function, or its approximation in the papers' code. method=flow: probes
    of the divergence, 0 for the exact trace; tolerance: of the solver, relative and absolute.

    against: the folder of another such run, of the same images: shows the difference image by image, whose
    interval is far narrower than those of the two.
    """

    ckpt: str | None = None
    n: int = 180
    split: Literal["train", "val", "test"] = "test"
    ema: bool | float = True
    method: Literal["bound", "flow"] = "bound"
    steps: int | None = None
    decoder: Literal["erf", "tanh"] = "erf"
    probes: int = 1
    tolerance: float = 1e-5
    against: str | None = None

    def __post_init__(self) -> None:
        if self.n < 2 or (self.steps is not None and self.steps < 2):
            raise ConfigError(f"n={self.n}, steps={self.steps}", "task", "give 2 or more of each")
        if self.method not in ("bound", "flow"):
            raise ConfigError(f"method={self.method}", "task.method", "give bound or flow")
        if self.decoder not in CDF:
            raise ConfigError(
                f"decoder={self.decoder}", "task.decoder", "give erf, or tanh as in the papers' code"
            )
        if self.probes < 0 or not 0 < self.tolerance < 1:
            what = f"probes={self.probes}, tolerance={self.tolerance}"
            raise ConfigError(what, "task", "give probes=0 or more, and a tolerance such as 1e-5")

    def check(self, job: Job) -> None:
        device_of(job)
        if self.against is not None:
            _images(Path(self.against))
        restored, _, data = self._ready(job)
        data.check()
        check_images(restored.model, data)
        if not restored.model.codec.pixels:
            do = "use a model trained with codec=pixels"
            raise ConfigError("the likelihood is that of 8-bit pixels", "codec", do)

    def _ready(self, job: Job) -> tuple[Restored, Any, DataSet]:
        restored, nodes = ready(job, self.ckpt, self.ema)
        return restored, build(nodes["clip"], "clip", job.allowed), build(nodes["data"], "data", job.allowed)

    def run(self, job: Job, record: Record) -> None:
        restored, clip, data = self._ready(job)
        restored.model.to(device_of(job))
        record.results |= {"split": self.split, "method": self.method}
        if self.method == "flow":
            values = self._flow(job, restored, data)
            tell_flow(record, values, self.split, self.probes)
        else:
            bits = self._bound(job, restored, clip, data)
            values = bits.total
            about = {"clipping": clip, "decoder": self.decoder, "seed": job.config["seed"]}
            tell_bound(
                job, record, bits, restored.model.denoiser.schedule.T, self._about(restored, data) | about
            )
        shown = torch.cat([index for _, _, index in self._batches(job, restored, data)]).tolist()
        each = dict(zip(shown, values.tolist(), strict=True))
        written(job.folder / IMAGES, [{"index": i, "bits_per_dim": value} for i, value in each.items()])
        if self.against is not None:
            record.results |= _difference(each, Path(self.against))
        say(f"everything: {near(job.folder)}/")

    def _about(self, restored: Restored, data: DataSet) -> dict[str, Any]:
        """Return what is measured, and on what."""
        choices = restored.config.get("choices")
        parts = ("network", "schedule", "prediction", "variance")
        named = [f"{k}={choices[k]}" for k in parts if k in choices] if isinstance(choices, Mapping) else []
        trained = self.ckpt is not None
        which = f"{near(restored.path)}, step {restored.step}" if trained else "none: a closed form"
        weights = {"weights": "as trained" if self.ema is False else "averaged"} if trained else {}
        model = {"model": " ".join(named) or type(restored.model.denoiser.network).__name__}
        return model | {"checkpoint": which} | weights | {"data": f"{data.name}, {self.split} images"}

    def _batches(
        self, job: Job, restored: Restored, data: DataSet
    ) -> Iterator[tuple[Tensor, Condition | None, Tensor]]:
        """Yield x0, cond and the numbers of n images."""
        model, seen = restored.model, 0
        for batch in data.batches(self.split, min(self.n, job.config["evaluator"]["batch_size"])):
            keep = min(len(batch.image), self.n - seen)
            if not keep:
                return
            device = device_of(job)
            asked = batch.asked[torch.arange(keep)].to(device)
            x0 = model.codec.encode(batch.image[:keep].to(device))
            yield x0, model.condition(asked), batch.index[:keep]
            seen += keep

    def _bound(self, job: Job, restored: Restored, clip: Any, data: DataSet) -> Bits:
        model, schedule = restored.model, restored.model.denoiser.schedule
        denoise, seed = Clipped(model.denoiser, schedule, clip), key(job.config["seed"], "likelihood")
        parts, total = list[Bits](), self.steps or schedule.T
        with counting("terms of the bound") as progress:
            for x0, cond, index in self._batches(job, restored, data):
                noise = Noise(seed, index, model.shape, x0.device)
                parts.append(
                    bits_per_dim(
                        denoise, schedule, x0, noise, cond, self.steps,
                        lambda k: progress(k, total), CDF[self.decoder],
                    )
                )  # fmt: skip
        joined = {
            name: torch.cat([getattr(bits, name) for bits in parts], -1)
            for name in ("step", "terms", "small", "large", "prior")
        }
        return Bits(**joined, share=parts[0].share)

    def _flow(self, job: Job, restored: Restored, data: DataSet) -> Tensor:
        """Return the bits per dimension of each image. x̂0 is not clipped: a clipped flow has no inverse."""
        model, seed, parts = restored.model, key(job.config["seed"], "flow"), list[Tensor]()
        with counting("flow, percent of the way") as progress:
            for x0, cond, index in self._batches(job, restored, data):
                noise = Noise(seed, index, model.shape, x0.device)
                x = probability_flow.dequantised(x0, torch.special.ndtr(noise(0)))
                probes = [noise(k + 1).sign() for k in range(self.probes)]
                density = probability_flow.log_density(
                    model.denoiser, model.denoiser.schedule, x, cond,
                    torch.stack(probes) if probes else None, self.tolerance, self.tolerance,
                    on_step=lambda share: progress(round(100 * share), 100),
                )  # fmt: skip
                parts.append(probability_flow.density_bits_per_dim(density.log_p, math.prod(model.shape)))
        return torch.cat(parts)


def _images(folder: Path) -> dict[int, float]:
    """Read the bits per dimension of each image, by its number. Raises DataError."""
    path = folder.expanduser() / IMAGES
    try:
        with path.open(newline="") as file:
            return {int(row["index"]): float(row["bits_per_dim"]) for row in csv.DictReader(file)}
    except (OSError, KeyError, ValueError, TypeError, csv.Error) as error:
        do = "give the folder of a run of task=likelihood"
        raise DataError(f"there are no bits of images here ({error})", str(path), do) from error


def _difference(mine: dict[int, float], folder: Path) -> dict[str, Any]:
    """Return how many bits more or fewer each image needs than in another run. Raises DataError."""
    other = _images(folder)
    both = torch.tensor([mine[i] - other[i] for i in mine if i in other], dtype=torch.float64)
    if not len(both):
        do = "give a run of the same split and n"
        raise DataError("no images are in both", str(folder / IMAGES), do)
    mean, half = interval(both)
    say(f"{mean:+.4f} bits/dim against {near(folder)}, of the same {len(both)} images, "
        f"95 % interval {words(mean, half, '+')}")  # fmt: skip
    width = {} if half is None else {"difference_half_width": half}
    return {"difference": mean, **width, "against": str(folder)}
