"""task=protocols: the FID of one set of images under several protocols, and how much each choice moves it.

The images are drawn once, from the same noise for all. Of each choice the first is the default protocol, and
one at a time is another; the difference to the default is paired, by leaving the same images out of both.
Random labels alone ask for other images, which are drawn once more.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, cast

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from diffexp.condition import Asked
from diffexp.data.batch import Batch
from diffexp.data.dataset import DataSet
from diffexp.errors import ConfigError
from diffexp.escape import plain
from diffexp.files import write
from diffexp.metrics.evaluator import Evaluator
from diffexp.metrics.extractor import Extractor, extract
from diffexp.metrics.fid import FID
from diffexp.metrics.inception import Inception
from diffexp.metrics.inception_resize import Resize
from diffexp.metrics.rounding import Rounding, rounded, unrounded
from diffexp.model.ask import ask
from diffexp.model.model import Model
from diffexp.notice import warn
from diffexp.progress import counting
from diffexp.randomness import generator
from diffexp.report.protocols_page import COLUMNS, Protocol, about, cells, compared, markdown, page
from diffexp.run.console import near, say
from diffexp.run.folder import Record
from diffexp.run.job import Job, device_of
from diffexp.samplers import generate, nfe
from diffexp.tasks.evaluate import Evaluate

Labels = Literal["balanced", "random"]
_SPLITS = ("train", "val", "test")


@dataclass
class _Way:
    """A protocol, with its extractor and the FID that takes in the images."""

    of: Protocol
    extractor: Extractor
    fid: FID


@dataclass(frozen=True)
class Protocols(Evaluate):
    """The fields of task=evaluate, and the values of each choice, of which the first is the default.

    references: splits of the data, or .npz files; rounding: to 8 bits; resize: of the FID Inception; labels:
    classes in turn, or random ones.
    """

    references: tuple[str, ...] = ("train", "test")
    rounding: tuple[Rounding, ...] = ("nearest", "down", "none")
    resize: tuple[Resize, ...] = ("tensorflow", "clean")
    labels: tuple[Labels, ...] = ("balanced", "random")
    tracked: ClassVar[bool] = False

    def __post_init__(self) -> None:
        for key in ("references", "rounding", "resize", "labels"):
            if not getattr(self, key):
                raise ConfigError(f"{key}=[]", f"task.{key}", "give one or more; the first is the default")

    def check(self, job: Job) -> None:
        device_of(job)
        restored, evaluator, data, _ = self._ready(job)
        data.check()
        evaluator.check(data, restored.model)
        for way in self._ways(evaluator, restored.model):
            way.extractor.check(data.shape)
            way.fid.check(data, way.extractor)

    def network_calls(self, job: Job) -> int:
        restored, evaluator, _, _ = self._ready(job)
        draws = len({way.of.labels for way in self._ways(evaluator, restored.model)})
        return draws * evaluator.metrics.n * nfe(evaluator.sampler, evaluator.guidance, restored.model)

    def _ways(self, evaluator: Evaluator, model: Model) -> list[_Way]:
        """Return the default protocol, and those that differ from it in one choice. Raises ConfigError where
        there is no FID.
        """
        extractor, base = evaluator.metrics.extractor, _fid(evaluator)
        first = Protocol("default", self.references[0], self.rounding[0], self.resize[0], self.labels[0])
        chosen = [first, *self._others(first, extractor, model)]
        return [_way(of, extractor, base) for of in chosen]  # type: ignore[arg-type]

    def _others(self, first: Protocol, extractor: Any, model: Model) -> Iterator[Protocol]:
        for value in self.references[1:]:
            yield replace(first, name=f"reference: {value}", reference=value)
        for value in self.rounding[1:] if model.codec.pixels else ():
            yield replace(first, name=f"rounding: {value}", rounding=value)
        for value in self.resize[1:] if isinstance(extractor, Inception) else ():
            yield replace(first, name=f"resize: {value}", resize=value)
        for value in self.labels[1:] if _labelled(model) else ():
            yield replace(first, name=f"labels: {value}", labels=value)

    def run(self, job: Job, record: Record) -> None:
        restored, evaluator, data, _ = self._ready(job, measure=True)
        device = device_of(job)
        model = restored.model.to(device)
        evaluator.data = data
        evaluator.check(data, model)  # which loads the extractor, so that ways of resizing share its weights
        ways = self._ways(evaluator, model)
        for line in _left_out(evaluator, model):
            warn(line)
        for way in ways:
            way.extractor.check(data.shape)
            way.extractor.to(device)
            way.fid.prepare(data, way.extractor, evaluator.metrics.n)
        self._measure(evaluator, model, data, ways, device)
        rows = compared([(way.of, way.fid) for way in ways], evaluator.metrics.n)
        told = about(rows, data.name, repr(evaluator.sampler), repr(evaluator.guidance))
        write(job.folder / "protocols.md", markdown(rows, told))
        write(job.folder / "protocols.html", page(rows, told))
        first = rows[0]
        record.results |= {first.key: first.value, "n": first.n, "protocols": [row.plain() for row in rows]}
        record.results["cards"] = {first.key: first.card}
        table = Table(title=plain(f"{first.key}, N = {first.n:,}"), title_justify="left")
        for column in COLUMNS:
            table.add_column(column, overflow="fold")
        for row in rows:
            table.add_row(*map(plain, cells(row)))
        Console().print(table)
        say(f"page: {near(job.folder / 'protocols.html')}   everything: {near(job.folder)}/")

    def _measure(
        self, evaluator: Evaluator, model: Model, data: DataSet, ways: list[_Way], device: torch.device
    ) -> None:
        """Draw the images, once for each choice of labels, and let each protocol see them."""
        n, pixels = evaluator.metrics.n, model.codec.pixels
        several = list(dict.fromkeys(way.of.labels for way in ways))
        with counting("sampling") as progress:
            for k, labels in enumerate(several):
                asked, of = _asked(evaluator, model, n, labels), [w for w in ways if w.of.labels == labels]
                for index in torch.arange(n).split(evaluator.batch_size):
                    images = generate(
                        model, evaluator.sampler, index, asked[index], evaluator.guidance, evaluator.clip,
                        evaluator.seed, len(index), device, decode=unrounded if pixels else None,
                    )  # fmt: skip
                    _see(of, images, index, pixels)
                    progress(k * n + int(index[-1]) + 1, n * len(several))


def _see(ways: list[_Way], images: Tensor, index: Tensor, pixels: bool) -> None:
    """Let each protocol see images (B, C, H, W) of 0 to 255: of pixels float, else uint8."""
    known = dict[tuple[str, str], Tensor]()
    for way in ways:
        key = (way.of.rounding, way.extractor.name)
        if key not in known:
            known[key] = extract(way.extractor, rounded(images, way.of.rounding) if pixels else images)
        way.fid.update(Batch(images, None, None, index), known[key])


def _way(of: Protocol, extractor: Extractor, base: FID) -> _Way:
    if isinstance(extractor, Inception) and extractor.resize != of.resize:
        extractor = extractor.with_resize(of.resize)
    split = of.reference if of.reference in _SPLITS else base.reference
    statistics = None if of.reference in _SPLITS else of.reference
    return _Way(of, extractor, FID(cast(Any, split), base.cache, statistics, base.parts or 10))


def _fid(evaluator: Evaluator) -> FID:
    """Return the FID of the metrics. Raises ConfigError for none."""
    found = [metric for metric in evaluator.metrics.metrics if isinstance(metric, FID)]
    if not found or evaluator.metrics.extractor is None:
        do = "type metrics=digits, or metrics=inception"
        raise ConfigError("there is no FID in these metrics", "metrics", do)
    return found[0]


def _labelled(model: Model) -> bool:
    return model.conditioning.asks == ("label",) and len(model.class_names or ()) > 1


def _asked(evaluator: Evaluator, model: Model, n: int, labels: str) -> Asked:
    if labels == "balanced" or not _labelled(model):
        return evaluator.wanted_of(model, n)
    chosen = torch.randint(len(model.class_names or ()), (n,), generator=generator(evaluator.seed, "labels"))
    return ask(model, n, chosen.tolist())


def _left_out(evaluator: Evaluator, model: Model) -> Iterator[str]:
    """Yield a sentence for each choice that has no meaning here."""
    if not isinstance(evaluator.metrics.extractor, Inception):
        yield "resize is left out: only the FID Inception (metrics=inception) resizes"
    if not model.codec.pixels:
        yield "rounding is left out: latents are decoded to 8 bits"
    if not _labelled(model):
        yield "labels are left out: the model is not told classes alone"
