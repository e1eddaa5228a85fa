"""task=train: fit, then sample and measure the averaged weights."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from lightning import Trainer
from lightning.pytorch import Callback

from diffexp.errors import ConfigError
from diffexp.metrics.evaluator import Evaluation, Evaluator
from diffexp.metrics.probe import probe
from diffexp.model.begin import begin, weights_to_begin_with
from diffexp.model.trainable import check_sources
from diffexp.networks.allocator import keep_freed_memory
from diffexp.notice import say
from diffexp.progress import counting
from diffexp.report.tracking import Tracking
from diffexp.run.console import summary
from diffexp.run.disk import check_room, checkpoint_bytes
from diffexp.run.fit import tell_rate
from diffexp.run.folder import Record, check_links
from diffexp.run.job import Job, device_of
from diffexp.run.next_lines import suggestions
from diffexp.run.resume import start
from diffexp.tasks.evidence import keep_evidence, key_at
from diffexp.tasks.fitting import Fitting, Training, make_trainer
from diffexp.tasks.training_parts import (
    base_path,
    build_module,
    check_begin,
    check_terms,
    checked_module,
    headline,
)
from diffexp.training.data_module import DataModule
from diffexp.training.drift import Drift, drift_of
from diffexp.training.encode_ahead import check_room_for_latents, encode_ahead
from diffexp.training.evaluate_samples import EvaluateSamples, show
from diffexp.training.module import DiffusionModule
from diffexp.training.prior_images import make_prior


@dataclass(frozen=True)
class Train(Fitting):
    """Train a model: on what, and how often it is measured, is all in the configuration."""

    def check(self, job: Job) -> None:
        device_of(job)
        check_links(job.folder)
        ckpt = start(job)
        loader: DataModule = job.build("loader")
        loader.prepare_data()
        module = checked_module(job, loader)
        if (line := module.make_ready()) is not None:
            say(line)
        check_room(job.folder, checkpoint_bytes(module.stored(), module.trained))
        check_room_for_latents(module.model.codec, loader)
        check_sources(module.model)
        other = None if module.tune.needs_base else job.config.get("init")
        if ckpt is None and other:
            say(begin(module.model, module.tune, *weights_to_begin_with(other), copy=False).words())
        module.model.check()
        if not module.trained:
            do = "type task=sample or task=evaluate, without task.ckpt"
            raise ConfigError("this network has nothing to train", "network", do)
        for shape in loader.shapes:
            check_terms(module.objective.terms, shape)
        check_begin(job, module.model, loader.data)
        if job.config.get("dry_run") and ckpt is not None:
            tell_rate(ckpt, job, module.lr)

    def network_calls(self, job: Job) -> int:
        job.build("codec").check()
        return super().network_calls(job)

    def train(self, job: Job, record: Record, tracking: Tracking) -> None:
        begun = time.perf_counter()
        torch.manual_seed(job.config["seed"])  # of the initial weights
        loader: DataModule = job.build("loader")
        evaluator: Evaluator = job.build("evaluator")
        module = _loaded(job, loader)
        make_prior(loader.data, device_of(job))
        drift = drift_of(base_path(job), evaluator, module.model, device_of(job))
        ckpt = start(job)
        other = None if module.tune.needs_base else job.config.get("init")
        if ckpt is None and other:
            module.begin_with(other)
        if job.plugins:
            images = loader.data.split("train")
            with torch.random.fork_rng():
                probe(module.averaged().eval(), evaluator, images.batch(torch.arange(min(2, len(images)))))
        if not torch.cuda.is_available():
            keep_freed_memory()
        trainer = _trainer(job, evaluator, tracking, record, drift)
        if trainer.is_global_zero:
            say(headline(module, loader))
            evaluator.prepare(loader.data, trainer.strategy.root_device)
        trainer.strategy.barrier()
        if not trainer.is_global_zero:
            evaluator.prepare(loader.data, trainer.strategy.root_device)
        encode_ahead(module.model.codec, loader, trainer.strategy.root_device, ckpt is not None)
        make = partial(_trainer, job, evaluator, tracking, record, drift)
        training = Training(job, record, tracking, loader, partial(_loaded, job, loader), make)
        module, trainer = training.fit(module, trainer, ckpt)
        record.results["train_seconds"] = round(time.perf_counter() - begun, 1)
        self._measure(job, trainer, module, evaluator, record, drift)
        tracking.end_training(record.results, trainer.global_step)

    def _measure(
        self,
        job: Job,
        trainer: Trainer,
        module: DiffusionModule,
        evaluator: Evaluator,
        record: Record,
        drift: Drift | None,
    ) -> None:
        module.to(trainer.strategy.root_device).eval()
        measured: dict[float, Evaluation] = {}
        rank = (trainer.global_rank, trainer.world_size)
        for scale in evaluator.scales or (evaluator.guidance.scale,):
            with counting(f"sampling at guidance scale {scale:g}") as progress:
                measured[scale] = evaluator.run(
                    module.averaged(),
                    scale,
                    module.device,
                    progress,
                    rank,
                )
        gone = ({}, {}) if drift is None else drift.measure(module.averaged(), module.device, rank)
        if not trainer.is_global_zero:
            return
        record.check()
        first = next(iter(measured.values()))
        picture = show(trainer, module, first, job.folder)
        values = {
            key_at(k, s, len(measured)): v for s, r in measured.items() for k, v in r.values.items()
        } | gone[0]
        for logger in trainer.loggers:
            logger.log_metrics({f"final/{k}": v for k, v in values.items()}, step=trainer.global_step)
        losses = {k: float(v) for k, v in trainer.callback_metrics.items() if k in ("train/loss", "val/loss")}
        keep_evidence(job.folder, measured)
        cards = {
            key_at(k, s, len(measured)): c for s, r in measured.items() for k, c in r.cards.items()
        } | gone[1]
        record.results |= losses | values | {"cards": cards, "picture": str(picture)}
        captions = trainer.datamodule.data.split(evaluator.captions).texts  # type: ignore[attr-defined]
        lines = suggestions(job, module.model, captions, record.results)
        summary(job.folder, picture, record.results, measured, lines, gone)


def _loaded(job: Job, loader: DataModule) -> DiffusionModule:
    module = build_module(job, loader)
    module.load()
    return module


def _trainer(
    job: Job, evaluator: Evaluator, tracking: Tracking, record: Record, drift: Drift | None
) -> Trainer:
    """Build the trainer. Callbacks act in this order: samples first, a checkpoint after them."""

    def samples(asked: Callable[[], bool]) -> list[Callback]:
        return [EvaluateSamples(evaluator, job.folder, asked, record.check, drift)]

    return make_trainer(job, tracking, record, samples)
