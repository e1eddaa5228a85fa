"""task=evaluate: measure a checkpoint, under any sampler, steps, η and guidance."""

import json
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import torch

from diffexp.config.build import build
from diffexp.data import DataSet
from diffexp.data.dataset import SplitName
from diffexp.errors import ConfigError
from diffexp.metrics import MetricSet
from diffexp.metrics.evaluator import Evaluator
from diffexp.metrics.metric import Card
from diffexp.model.restore import Restored
from diffexp.model.sizes import of_picture
from diffexp.notice import warn
from diffexp.progress import counting
from diffexp.run.console import summary
from diffexp.run.folder import Record
from diffexp.run.job import Job, Task, device_of
from diffexp.run.next_lines import suggestions
from diffexp.run.ready import ready
from diffexp.samplers import check, nfe, with_calls
from diffexp.tasks.evidence import keep_evidence
from diffexp.training.drift import WHERE, checked_base, drift_of

Measured = tuple[dict[str, float], dict[str, Card]]
"""Values, and the card of each."""


@dataclass(frozen=True)
class Evaluate(Task):
    """ckpt: a checkpoint or a run folder; ema: the averaged weights.

    calls: of the network, unguided, for one image: the sampler takes as many steps as they allow. picture: as
    that of Sample.
    """

    ckpt: str | None = None
    ema: bool | float = True
    calls: int | None = None
    adapters: tuple[str, ...] | None = None
    adapter_scales: tuple[float, ...] | None = None
    picture: tuple[int, ...] | None = None

    def check(self, job: Job) -> None:
        device_of(job)
        restored, evaluator, data, _ = self._ready(job)
        data.check()
        evaluator.check(data, restored.model)
        if evaluator.drift:
            checked_base(self._base(restored), restored.model)

    def _base(self, restored: Restored) -> str:
        """Return the run that the drift is measured from. Raises ConfigError where there is none."""
        if self.adapters:
            return str(self.ckpt)
        if restored.tune.needs_base:
            return str(restored.model.denoiser.network.source)
        if (init := restored.config.get("init")) is None:
            do = "type evaluator.drift=0, or task.ckpt=BASE task.adapters=[RUN] for adapters of it"
            raise ConfigError("this run has begun with no other, from which it could drift", WHERE, do)
        warn(f"reading {init}, the run that {restored.path} has begun with")
        return str(init)

    def _ready(self, job: Job, measure: bool = False) -> tuple[Restored, Evaluator, DataSet, Any]:
        restored, nodes = ready(job, self.ckpt, self.ema, measure, self.adapters, self.adapter_scales)
        restored = replace(restored, model=of_picture(restored.model, self.picture, "task.picture"))
        node = {
            **job.config["evaluator"],
            "scales": [],  # of the end of a training
            **{k: nodes[k] for k in ("sampler", "guidance", "clip", "metrics")},
        }
        evaluator = build(node, "evaluator", job.allowed)
        if self.calls is not None:
            evaluator.sampler = with_calls(evaluator.sampler, self.calls, restored.model.denoiser.schedule)
        return restored, evaluator, _data(json.dumps(nodes["data"]), job.allowed), nodes["metrics"]

    def network_calls(self, job: Job) -> int:
        restored, evaluator, _, _ = self._ready(job)
        check(restored.model, evaluator.sampler, evaluator.guidance)
        n = max(evaluator.metrics.n, evaluator.pictures)
        return (n + evaluator.drift) * nfe(evaluator.sampler, evaluator.guidance, restored.model)

    def run(self, job: Job, record: Record) -> None:
        restored, evaluator, data, metrics = self._ready(job, measure=True)
        device = device_of(job)
        restored.model.to(device)
        reference = job.config["evaluator"].get("reference")
        evaluator.metrics = _prepared(json.dumps(metrics), reference, data, str(device), job.allowed)
        evaluator.data = data
        with counting("sampling") as progress:
            result = evaluator.run(restored.model, device=device, progress=progress)
        gone = self._drift(restored, evaluator, device)
        title = f"step {restored.step}, {result.nfe:g} calls"
        picture = result.draw(restored.class_names, title, job.folder / "samples" / "grid.png")
        keep_evidence(job.folder, {evaluator.guidance.scale: result})
        cost = {"nfe": result.nfe, "sampling_seconds": round(result.seconds, 2)}
        cards = result.cards | gone[1]
        record.results |= result.values | gone[0] | cost | {"cards": cards, "picture": str(picture)}
        results = {evaluator.guidance.scale: result}
        lines = suggestions(job, restored.model, data.split(evaluator.captions).texts)
        summary(job.folder, picture, record.results, results, lines, gone)

    def _drift(self, restored: Restored, evaluator: Evaluator, device: torch.device) -> Measured:
        """Return the drift from the base, as a training measures it; nothing where it is not asked for."""
        if not evaluator.drift:
            return {}, {}
        drift = drift_of(self._base(restored), evaluator, restored.model, device)
        return ({}, {}) if drift is None else drift.measure(restored.model.to(device), device)


@lru_cache(maxsize=2)
def _data(node: str, allowed: tuple[str, ...]) -> DataSet:
    """Build the data, and keep it from job to job of a sweep: reading it takes longer than many a job."""
    return build(json.loads(node), "data", allowed)


@lru_cache(maxsize=2)
def _prepared(
    node: str, reference: SplitName | None, data: DataSet, device: str, allowed: tuple[str, ...]
) -> MetricSet:
    """Prepare the metrics, and keep them as well: the extractor, and what they know of the real images."""
    metrics: MetricSet = build(json.loads(node), "metrics", allowed)
    metrics.compare_with(reference)
    metrics.prepare(data, device)
    return metrics
