"""Samples of a model, measured: generated in batches, and each seen once by all metrics."""

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor

from diffexp.condition import Asked
from diffexp.conditioning.conditioning import nearest_of
from diffexp.data.captions import GIVE
from diffexp.data.dataset import DataSet, SplitName
from diffexp.diffusion.clip import Clip
from diffexp.diffusion.guidance import Guidance
from diffexp.errors import ConfigError, Problems
from diffexp.metrics.evaluation import Evaluation
from diffexp.metrics.metric_set import MetricSet
from diffexp.model.ask import ask
from diffexp.model.model import Model
from diffexp.notice import warn
from diffexp.samplers import GridSampler, Sampler, check, counted, generate, nfe

Progress = Callable[[int, int], None]
"""Told (images done, images in all)."""


class Evaluator:
    """Samples with a sampler, guidance and clipping, and measures with a set of metrics.

    seed: of the noise. batch_size: images at a time, which changes no image. pictures: images to show, for
    which no more are generated than metrics.n if that is enough. When training evaluates: every `every`
    epochs (0: never) and at the end, there at each of the guidance `scales`, or the configured one.

    For a model that is told captions: captions, the split whose captions are asked for, the first of each
    image, in its order and in turn; negative, a caption that guidance goes away from. reference: the split of
    real images that metrics compare with, None for that which each metric names. drift: the images by which
    a training that begins with another run is compared with that (training/drift.py), 0 for none.
    """

    def __init__(
        self,
        sampler: Sampler,
        guidance: Guidance,
        clip: Clip,
        metrics: MetricSet,
        seed: int = 0,
        batch_size: int = 250,
        pictures: int = 80,
        every: int = 10,
        scales: tuple[float, ...] = (),
        negative: str | None = None,
        captions: Literal["val", "test"] = "val",
        reference: SplitName | None = None,
        drift: int = 0,
    ) -> None:
        for key, value, least in (
            ("batch_size", batch_size, 1),
            ("pictures", pictures, 1),
            ("every", every, 0),
            ("drift", drift, 0),
        ):
            if value < least:
                raise ConfigError(f"{key}={value}", f"evaluator.{key}", f"give {least} or more")
        self.sampler, self.guidance, self.clip, self.metrics = sampler, guidance, clip, metrics
        self.seed, self.batch_size, self.pictures = seed, batch_size, pictures
        self.every, self.scales, self.negative = every, scales, negative
        if drift == 1:
            raise ConfigError("drift=1", "evaluator.drift", "give 2 or more images, or 0 for none")
        self.drift = drift
        self.captions: Literal["val", "test"] = captions
        metrics.compare_with(reference)
        self.data: DataSet | None = None  # whose captions are asked for

    def check(self, data: DataSet, model: Model | None) -> None:
        """Raise ConfigError, with all problems, or DataError, before training for what would fail after it.

        model: None where there is none to check.
        """
        problems = Problems()
        if model is not None:
            with problems:
                check(model, self.sampler, self.guidance)
            with problems:
                self._check_scales(model)
            if "text" in model.conditioning.asks and data.split(self.captions).texts is None:
                problems.kept.append(_no_captions())
            if self.negative and "text" not in model.conditioning.asks:
                what = "a negative is asked for, but the model is told no captions"
                problems.kept.append(ConfigError(what, "evaluator.negative", "leave it away"))
            elif self.negative and (unknown := model.conditioning.unknown([self.negative])):
                warn(f"words of evaluator.negative that the model does not know: {nearest_of(unknown)}")
        with problems:
            self.metrics.check(data)
        problems.all_at_once()

    def _check_scales(self, model: Model) -> None:
        for scale in self.scales:
            try:
                check(model, self.sampler, replace(self.guidance, scale=scale))
            except ConfigError as error:  # a recipe has scales, and the person has typed none
                do = f"type evaluator.scales=[1], or: {error.do}"
                raise ConfigError(error.what, f"evaluator.scales={list(self.scales)}", do) from error

    def prepare(self, data: DataSet, device: torch.device | str) -> None:
        """Find out, once, what the metrics need to know of the real images."""
        self.metrics.prepare(data, device)
        self.data = data

    def run(
        self,
        model: Model,
        scale: float | None = None,
        device: torch.device | str = "cpu",
        progress: Progress | None = None,
        rank: tuple[int, int] = (0, 1),
    ) -> Evaluation:
        """Generates the images of this rank (rank, ranks), and measures those of all of them.

        scale: of guidance, instead of the configured one. A collective call.
        """
        guidance = self.guidance if scale is None else replace(self.guidance, scale=scale)
        n = max(self.metrics.n, self.pictures)
        wanted, mine = self.wanted_of(model, n), torch.arange(rank[0], n, rank[1])
        self.metrics.reset()
        start, kept, evaluations, known = time.perf_counter(), [], 0, []
        for index in mine.split(self.batch_size):
            asked = wanted[index]
            with counted(model) as seen:
                images = generate(
                    model, self.sampler, index, asked, guidance, self.clip, self.seed, len(index), device
                )
            evaluations += sum(seen)
            texts = None if asked.text is None else list(asked.text)
            features = self.metrics.update(images, asked.label, texts, index)
            if len(kept) * self.batch_size < self.pictures:
                kept.append(images)
                known += [] if features is None else [features]
            if progress is not None:
                progress(min(n, int(index[-1]) + 1), n)
        shown = torch.cat(kept)[: self.pictures]
        values = self.metrics.compute()
        calls = nfe(self.sampler, guidance, model)
        if not isinstance(self.sampler, GridSampler):  # it makes other calls for other images
            calls = round(evaluations / len(mine), 1)
        told = self._protocol(model, guidance, calls, wanted.text)
        cards = {key: card | told | model.codec.ceiling(key) for key, card in self.metrics.cards.items()}
        first, seconds = wanted[mine[: len(shown)]], time.perf_counter() - start
        evidence, pairing = (self.metrics.evidence, self._pairing(model, wanted)) if values else ({}, {})
        shown_of = (shown, first.label, calls, seconds, told, first.text)
        more = (evidence, pairing, rank[1], dict(self.metrics.pictures), self._known(known, len(shown)))
        return Evaluation(values, cards, *shown_of, *more)

    def _known(self, features: list[Tensor], count: int) -> tuple[str, Tensor] | None:
        """Return the extractor's name and the features of the first images, where all of them have some."""
        extractor = self.metrics.extractor
        if extractor is None or sum(map(len, features)) < count:
            return None
        return f"{extractor.name} {extractor.sha256[:12]}", torch.cat(features)[:count].cpu()

    def _pairing(self, model: Model, wanted: Asked) -> dict[str, Any]:
        labels, digest = wanted.label, hashlib.sha256()
        digest.update(b"" if labels is None else str(labels[: self.metrics.n].tolist()).encode())
        digest.update(json.dumps(wanted.text and wanted.text[: self.metrics.n]).encode())
        noise = {"seed": self.seed, "shape": list(model.latent_shape)}
        return {"noise": noise, "asked": digest.hexdigest()[:12], "n": self.metrics.n}

    def wanted_of(self, model: Model, n: int) -> Asked:
        """Ask for n images: classes in turn, or the captions of the images of a split, with their classes for
        a model that is told both.
        """
        asks = model.conditioning.asks
        if "text" not in asks:
            return ask(model, n)
        texts, labels = list[str](), list[int]()
        for batch in () if self.data is None else self.data.batches(self.captions, 256):
            texts += batch.text or ()
            labels += [] if batch.label is None else batch.label.tolist()
            if len(texts) >= n:
                break
        if not texts:
            raise _no_captions()
        return ask(model, n, labels if "label" in asks else None, texts, self.negative)

    def _protocol(
        self, model: Model, guidance: Guidance, calls: float, texts: tuple[str, ...] | None
    ) -> dict[str, Any]:
        told: dict[str, Any] = {
            "sampler": repr(self.sampler),
            "guidance": repr(guidance),
            "clip": repr(model.clip(self.clip)),
            "nfe": calls,
            "sample_seed": self.seed,
            "weights": model.weights,
            "precision": model.precision,
            **model.codec.card(),
        }
        if texts is not None:
            measured = texts[: self.metrics.n or len(texts)]
            told["captions"] = f"of the {self.captions} split"
            told["captions_distinct"] = distinct = len(set(measured))
            told["captions_repeated"] = len(measured) - distinct
            told |= {"negative": self.negative} if self.negative else {}
        return told


def _no_captions() -> ConfigError:
    do = f"take a data set with captions, or give these: {GIVE}"
    return ConfigError("this model wants captions, and the data has none", "data", do)
