"""task=likelihood: bits per dimension of real images, by the variational bound and where they are spent, or
by the probability flow.
"""

import csv
import io
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from diffexp.condition import Condition
from diffexp.config.build import build
from diffexp.data import DataSet
from diffexp.diffusion import Clipped, bound, probability_flow
from diffexp.diffusion.likelihood import Bits, bits_per_dim
from diffexp.errors import ConfigError, DataError
from diffexp.files import write
from diffexp.model.restore import Restored
from diffexp.progress import counting
from diffexp.randomness import Noise, key
from diffexp.report.curves import Line, curves, page
from diffexp.run.console import near, say
from diffexp.run.folder import Record
from diffexp.run.job import Job, Task, device_of
from diffexp.run.ready import ready

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
    ema: bool = True
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
        if tuple(data.shape) != tuple(restored.model.shape):
            what = f"the model makes images of {restored.model.shape}, the data has {data.shape}"
            raise ConfigError(what, "data", "leave data away, for that of the run")
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
            _tell_flow(job, record, values, self)
        else:
            bits = self._bound(job, restored, clip, data)
            values = bits.total
            _tell_bound(job, record, restored, bits)
        shown = torch.cat([index for _, _, index in self._batches(job, restored, data)]).tolist()
        each = dict(zip(shown, values.tolist(), strict=True))
        _written(job.folder / IMAGES, [{"index": i, "bits_per_dim": value} for i, value in each.items()])
        if self.against is not None:
            record.results |= _difference(each, Path(self.against))
        say(f"everything: {near(job.folder)}/")

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


def _interval(values: Tensor) -> tuple[float, float]:
    """Return the mean over images, and half its 95 % interval."""
    return float(values.mean()), 1.96 * float(values.std()) / len(values) ** 0.5


def _tell_flow(job: Job, record: Record, bits: Tensor, how: Likelihood) -> None:
    mean, half = _interval(bits)
    record.results |= {"bpd": mean, "bpd_half_width": half, "n": len(bits), "probes": how.probes}
    trace = f"{how.probes} probes" if how.probes else "the exact trace"
    say(f"{mean:.4f} bits/dim of {len(bits)} {how.split} images by the flow ({trace}), "
        f"95 % interval {mean - half:.4f} to {mean + half:.4f}")  # fmt: skip


def _tell_bound(job: Job, record: Record, restored: Restored, bits: Bits) -> None:
    mean, half = _interval(bits.total)
    share = bits.share[1:, None]
    values = {
        "bpd": mean,
        "bpd_half_width": half,
        "L_T": float(bits.prior.mean()),
        "L_t": float((share * bits.terms[1:]).sum(0).mean()),
        "L_0": float(bits.terms[0].mean()),
    }
    path = job.folder / "likelihood.csv"
    rows = list(_rows(bits, restored.model.denoiser.schedule.T))
    _written(path, rows)
    learned = not (torch.equal(bits.terms, bits.small) or torch.equal(bits.terms, bits.large))
    names = {"bits_per_dim": "learned variance"} if learned else {}
    names |= {"fixed_small": "fixed small", "fixed_large": "fixed large"}
    lines = [Line(name, [(r["t"], [r[column]]) for r in rows]) for column, name in names.items()]
    picture = path.with_suffix(".html")
    write(picture, page("where the bits go", [curves("bits/dim of a step", lines, "t", marks=False)]))
    record.results |= values | {"n": len(bits.total), "terms": len(bits.share), "csv": str(path)}
    record.results["curves"] = str(picture)
    n, split = len(bits.total), record.results["split"]
    table = Table(title=f"bits/dim of {n} {split} images, {len(bits.share)} terms", title_justify="left")
    for column in ("total", "95 % interval", "L_T", "sum of L_t", "L_0"):
        table.add_column(column)
    interval = f"{mean - half:.4f} to {mean + half:.4f}"
    table.add_row(
        f"{mean:.4f}", interval, f"{values['L_T']:.2e}", f"{values['L_t']:.4f}", f"{values['L_0']:.4f}"
    )
    Console().print(table)
    say(f"each term: {near(path)}, {near(picture)}")


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
    if len(both) < 2:
        do = "give a run of the same split and n"
        raise DataError("no images are in both", str(folder / IMAGES), do)
    mean, half = _interval(both)
    say(f"{mean:+.4f} bits/dim against {near(folder)}, of the same {len(both)} images, "
        f"95 % interval {mean - half:+.4f} to {mean + half:+.4f}")  # fmt: skip
    return {"difference": mean, "difference_half_width": half, "against": str(folder)}


def _rows(bits: Bits, T: int) -> Iterator[dict[str, float]]:
    """Yield for each term t its mean over images, its standard error, and the mean with fixed variances."""
    t, n = bits.step.double().mean(1) / T, bits.terms.shape[1]
    for k in range(len(t)):
        yield {
            "t": float(t[k]),
            "bits_per_dim": float(bits.terms[k].mean()),
            "standard_error": float(bits.terms[k].std()) / n**0.5,
            "fixed_small": float(bits.small[k].mean()),
            "fixed_large": float(bits.large[k].mean()),
        }


def _written(path: Path, rows: list[dict[str, float]]) -> None:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows({name: f"{value:.8g}" for name, value in row.items()} for row in rows)
    write(path, text.getvalue())
