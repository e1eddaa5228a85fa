"""task=autoencoder: train an autoencoder of the images, and measure how it gives unseen ones back."""

import shlex
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from lightning import Trainer
from rich.console import Console

from diffexp.config.argv import command
from diffexp.config.suggest import resume_of
from diffexp.errors import ConfigError, DiffexpError, Problems
from diffexp.metrics.lpips import LPIPS
from diffexp.metrics.reconstruction import Measure, Reconstructions
from diffexp.metrics.reconstruction_metrics import metrics_for
from diffexp.networks.allocator import keep_freed_memory
from diffexp.notice import say
from diffexp.progress import counting
from diffexp.report.tracking import Tracking
from diffexp.run.console import near, values_table
from diffexp.run.disk import check_room, checkpoint_bytes
from diffexp.run.fit import tell_rate
from diffexp.run.folder import Record, check_links
from diffexp.run.job import Job, device_of
from diffexp.run.next_lines import longer
from diffexp.run.resume import start
from diffexp.tasks.evidence import keep_evidence
from diffexp.tasks.fitting import Fitting, Training, make_trainer
from diffexp.tasks.training_parts import about_data, check_numbers, check_terms
from diffexp.training.autoencoder_module import AutoencoderModule
from diffexp.training.autoencoder_picture import draw, priors
from diffexp.training.bucket_checks import refuse_buckets
from diffexp.training.data_module import DataModule
from diffexp.training.logger import TrackedLogger
from diffexp.training.tracker import safely


@dataclass(frozen=True)
class TrainAutoencoder(Fitting):
    """Train an autoencoder: on what, and with which loss, is all in the configuration. pictures: images of
    the picture that compares them.
    """

    pictures: int = 20

    def __post_init__(self) -> None:
        if self.pictures < 1:
            raise ConfigError(f"pictures={self.pictures}", "task.pictures", "give 1 or more")

    def check(self, job: Job) -> None:
        device_of(job)
        check_links(job.folder)
        ckpt = start(job)
        loader: DataModule = job.build("loader")
        loader.prepare_data()
        refuse_buckets(loader, "task=autoencoder")
        module = _checked(job, loader)
        check_room(job.folder, checkpoint_bytes(module.stored(), module.trained))
        if ckpt is None and (other := job.config.get("init")):
            say(module.begin_with(other, copy=False).words())
        check_terms(module.loss.terms, loader.shape)
        if job.config.get("dry_run") and ckpt is not None:
            tell_rate(ckpt, job, module.lr)

    def train(self, job: Job, record: Record, tracking: Tracking) -> None:
        begun = time.perf_counter()
        torch.manual_seed(job.config["seed"])  # of the initial weights
        loader: DataModule = job.build("loader")
        module, ckpt = _built(job, loader), start(job)
        if ckpt is None and (other := job.config.get("init")):
            module.begin_with(other)
        if not torch.cuda.is_available():
            keep_freed_memory()
        # accumulation, steps and precision are the module's own
        make = partial(make_trainer, job, tracking, record, accumulate_grad_batches=1, precision="32-true")
        trainer = make()
        if trainer.is_global_zero:
            say(f"{about_data(loader)}; {_words(module)}")
        training = Training(job, record, tracking, loader, partial(_built, job, loader), make)
        module, trainer = training.fit(module, trainer, ckpt)
        record.results["train_seconds"] = round(time.perf_counter() - begun, 1)
        self._measure(job, trainer, module, loader, record)
        tracking.end_training(record.results, trainer.global_step)

    def _measure(
        self, job: Job, trainer: Trainer, module: AutoencoderModule, loader: DataModule, record: Record
    ) -> None:
        device, rank = trainer.strategy.root_device, (trainer.global_rank, trainer.world_size)
        metrics = metrics_for(job.build("metrics"), loader.data, _typed(job, "metrics"))
        for first in (True, False):  # one rank fills the cache for the others
            if trainer.is_global_zero == first and metrics.metrics:
                metrics.prepare(loader.data, device)
            trainer.strategy.barrier()
        module.to(device).eval()
        deviation = module.loss.deviation if module.loss.kind == "gaussian" else None
        measure = Measure(
            metrics, _lpips(), deviation, self.pictures, module.seed, arithmetic=module.arithmetic
        )
        with counting("measuring reconstructions") as progress:
            measured = measure.run(module.averaged(), loader.data, device, rank, progress)
        if not trainer.is_global_zero:
            return
        record.check()
        self._tell(job, trainer, module, measured, record)

    def _tell(
        self, job: Job, trainer: Trainer, module: AutoencoderModule, measured: Reconstructions, record: Record
    ) -> None:
        step, values = trainer.global_step, measured.values
        keep_evidence(job.folder, {1.0: measured})
        path = job.folder / "samples" / f"step_{step:08d}.png"
        of_prior = priors(module) if module.loss.kind == "gaussian" else None
        draw(measured, f"step {step}, PSNR {values['psnr']:.2f} dB", path, of_prior)
        for logger in trainer.loggers:
            logger.log_metrics({f"final/{k}": v for k, v in values.items()}, step=step)
            if isinstance(logger, TrackedLogger):
                safely(logger.run.image, "val/reconstructions", path, step)
        losses = {k: float(v) for k, v in trainer.callback_metrics.items() if k in ("train/loss", "val/loss")}
        about = {"cards": measured.cards, "latent": measured.latent, "picture": str(path)}
        record.results |= values | losses | about
        rows = [(key, value, measured.cards.get(key, {})) for key, value in values.items()]
        Console().print(values_table(rows))
        say(f"training: {record.results['train_seconds']:.0f} s; latents: {_latents(measured.latent)}")
        say(f"picture: {near(path)}   everything: {near(job.folder)}/")
        say("next:")
        for line in _next(job, record.results):
            say(f"  {line}")


def _checked(job: Job, loader: DataModule) -> AutoencoderModule:
    """Return the module, for its shapes. Raises ConfigError with all that does not fit together."""
    problems, module = Problems(), None
    with problems:
        check_numbers(job)
    loader.batch(len(loader.data.split("train")))
    with problems:
        module = _built(job, loader)
    with problems:
        metrics_for(job.build("metrics"), loader.data, _typed(job, "metrics"))
    if job.config["autoencoder"].get("train") == "decoder" and not job.config.get("init"):
        what = "a decoder alone is trained for the latents of an encoder that there is"
        problems.kept.append(ConfigError(what, "autoencoder.train", "type init=RUN, of task=autoencoder"))
    problems.all_at_once()
    assert module is not None
    return module


def _built(job: Job, loader: DataModule) -> AutoencoderModule:
    accumulate = job.config["trainer"].get("accumulate_grad_batches", 1)
    return job.build("autoencoder")(shape=loader.shape, accumulate=accumulate, config=job.public())


def _typed(job: Job, group: str) -> bool:
    return any(text.lstrip("+~").partition("=")[0].split(".")[0] == group for text in job.typed)


def _lpips() -> LPIPS | None:
    """Return LPIPS if its weights lie here."""
    term = LPIPS()
    try:
        term.check()
    except DiffexpError:
        return None
    return term


def _words(module: AutoencoderModule) -> str:
    millions = sum(p.numel() for p in module.network.parameters()) / 1e6
    channels, height, width = module.latent_shape
    share = channels * height * width / (module.shape[0] * module.shape[1] * module.shape[2])
    latents = f"latents of {height}x{width}x{channels}, {share:.0%} of the numbers of an image"
    text = f"autoencoder of {millions:.2f} M parameters, {latents}"
    rival = module.discriminator
    return text if rival is None else f"{text}, a discriminator of {rival.layers} layers"


def _latents(latent: Mapping[str, list[Any]]) -> str:
    """Return mean and deviation of each channel, and how many of them are dead."""
    pairs = zip(latent["mean"], latent["std"], latent["active"], strict=True)
    parts = [f"{mean:.2f} ± {std:.2f}{'' if active else ' (dead)'}" for mean, std, active in pairs]
    dead, more = latent["active"].count(False), len(parts) - 8
    text = ", ".join(parts[:8]) + (f" and {more} more channels" if more > 0 else "")
    return f"{text}; {dead} of {len(parts)} channels are dead" if dead else text


def _next(job: Job, results: Mapping[str, Any]) -> list[str]:
    """Return command lines: diffusion in its latents, longer, and the decoder alone."""
    run = str(near(job.folder))
    aside = ("name", "dir", "resume", "dry_run", "init", "task", "autoencoder", "trainer", "optimizer", "lr")
    kept = [text for text in job.typed if text.lstrip("+~").partition("=")[0].split(".")[0] not in aside]
    again = [text for text in job.typed if text.partition("=")[0] not in (*aside[:5], "autoencoder.train")]
    lines = [
        [*kept, "codec=autoencoder", f"codec.ckpt={run}", "network=unet_latent"],
        [resume_of(run), longer(job, results)],
        [*again, f"init={run}", "autoencoder.train=decoder"],
    ]
    return [shlex.join([*command(), *line]) for line in lines]
