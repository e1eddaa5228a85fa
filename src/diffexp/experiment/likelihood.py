"""task=likelihood: bits per dimension of real images, by the variational bound, and where they are spent."""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from diffexp.data import DataSet
from diffexp.diffusion import Clipped, Pixels
from diffexp.diffusion.likelihood import Bits, bits_per_dim
from diffexp.errors import ConfigError
from diffexp.experiment.build import build
from diffexp.experiment.job import Job
from diffexp.experiment.record import Record
from diffexp.experiment.restore import Restored, device_of, ready
from diffexp.experiment.screen import counting, near, say
from diffexp.randomness import Noise, key


@dataclass(frozen=True)
class Likelihood:
    """ckpt: a checkpoint or a run folder; n: images of `split`; steps: terms, None for all of the chain."""

    ckpt: str | None = None
    n: int = 180
    split: Literal["train", "val", "test"] = "test"
    steps: int | None = None
    ema: bool = True

    def __post_init__(self) -> None:
        if self.n < 2 or (self.steps is not None and self.steps < 2):
            raise ConfigError(f"n={self.n}, steps={self.steps}", "task", "give 2 or more of each")

    def check(self, job: Job) -> None:
        device_of(job)
        restored, _, data = self._ready(job)
        data.check()
        if tuple(data.shape) != tuple(restored.model.shape):
            what = f"the model makes images of {restored.model.shape}, the data has {data.shape}"
            raise ConfigError(what, "data", "leave data away, for that of the run")
        if not isinstance(restored.model.codec, Pixels):
            raise ConfigError(
                "the bound is that of 8-bit pixels", "codec", "use a model trained with codec=pixels"
            )

    def _ready(self, job: Job) -> tuple[Restored, Any, DataSet]:
        restored, nodes = ready(job, self.ckpt, self.ema)
        return restored, build(nodes["clip"], "clip", job.allowed), build(nodes["data"], "data", job.allowed)

    def run(self, job: Job, record: Record) -> None:
        restored, clip, data = self._ready(job)
        model, device, parts = restored.model, device_of(job), list[Bits]()
        model.denoiser.to(device)
        schedule = model.denoiser.schedule
        denoise, seed = Clipped(model.denoiser, schedule, clip), key(job.config["seed"], "likelihood")
        with counting("bits") as progress:
            seen = 0
            for batch in data.batches(self.split, min(self.n, job.config["evaluator"]["batch_size"])):
                keep = min(len(batch.image), self.n - seen)
                if not keep:
                    break
                x0 = model.codec.encode(batch.image[:keep].to(device))
                label = None if batch.label is None else batch.label[:keep].to(device)
                noise = Noise(seed, batch.index[:keep], model.shape, device)
                cond = model.conditioning(label, model.classes)
                parts.append(
                    bits_per_dim(
                        denoise, schedule, x0, noise, cond, self.steps, lambda i: progress(i, schedule.T)
                    )
                )
                seen += keep
        self._tell(job, record, restored, parts)

    def _tell(self, job: Job, record: Record, restored: Restored, parts: list[Bits]) -> None:
        total = torch.cat([p.total for p in parts])
        terms = torch.cat([p.terms for p in parts], 1)
        share, prior = parts[0].share, torch.cat([p.prior for p in parts])
        half = 1.96 * float(total.std()) / len(total) ** 0.5
        values = {
            "bpd": float(total.mean()),
            "bpd_half_width": half,
            "L_T": float(prior.mean()),
            "L_t": float((share[1:, None] * terms[1:]).sum(0).mean()),
            "L_0": float(terms[0].mean()),
        }
        path = job.folder / "likelihood.csv"
        _table(path, restored, parts[0].step, terms)
        record.results |= values | {
            "n": len(total),
            "split": self.split,
            "terms": len(share),
            "csv": str(path),
        }
        table = Table(
            title=f"bits/dim of {len(total)} {self.split} images, {len(share)} terms", title_justify="left"
        )
        for column in ("total", "95 % interval", "L_T", "sum of L_t", "L_0"):
            table.add_column(column)
        interval = f"{values['bpd'] - half:.4f} to {values['bpd'] + half:.4f}"
        table.add_row(
            f"{values['bpd']:.4f}",
            interval,
            f"{values['L_T']:.2e}",
            f"{values['L_t']:.4f}",
            f"{values['L_0']:.4f}",
        )
        Console().print(table)
        say(f"each term: {near(path)}   everything: {near(job.folder)}/")


def _table(path: Path, restored: Restored, step: Tensor, terms: Tensor) -> None:
    """t, the mean of its term over the images, and the standard error of that."""
    error = terms.std(1) / terms.shape[1] ** 0.5
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["t", "bits_per_dim", "standard_error"])
        T = restored.model.denoiser.schedule.T
        for i, mean, se in zip(step.tolist(), terms.mean(1).tolist(), error.tolist(), strict=True):
            writer.writerow([i / T, f"{mean:.8g}", f"{se:.3g}"])
