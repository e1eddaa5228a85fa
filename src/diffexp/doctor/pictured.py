"""Images alone as a patient, whoever has made them, and the data that they are to be like."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from diffexp.config.suggest import override
from diffexp.data import DataSet
from diffexp.data.dataset import Images
from diffexp.doctor.samples import Samples
from diffexp.metrics import Evaluation, MetricSet
from diffexp.randomness import generator


@dataclass
class Pictured(Samples):
    """images: those that are examined, of which metrics.n are taken at random, the same each time; data,
    metrics: real images, and FID and judges; ckpt: where the images lie; typed: what was typed beside it.
    """

    images: Images
    data: DataSet
    metrics: MetricSet
    ckpt: str
    typed: Sequence[str] = ()
    device: Any = "cpu"
    batch_size: int = 250
    _kept: dict[str, Any] = field(default_factory=dict[str, Any], init=False)

    def draw(self) -> Evaluation:
        """Return n images, and what is measured of them."""
        return self.once("drawn", self._measured)

    def again(self, *more: str) -> list[str]:
        """Return the command line that measures these images."""
        return ["task=measure", override("task.images", self.ckpt), *self.typed, *more]

    def about(self) -> dict[str, object]:
        """Return what is examined, for the head of a page."""
        count = f"{self.n} of {len(self.images):,}"
        return {"images": self.ckpt, "data": self.data.name, "examined": count}

    def _measured(self) -> Evaluation:
        index = torch.randperm(len(self.images), generator=generator(0, "doctor"))[: self.n].sort().values
        drawn, labels, texts = list[Tensor](), list[Tensor](), list[str]()
        self.metrics.reset()
        for part in index.split(self.batch_size):
            batch = self.images.batch(part)
            self.metrics.update(batch.image, batch.label, batch.text)
            drawn.append(batch.image)
            labels += [] if batch.label is None else [batch.label]
            texts += batch.text or []
        values, cards = self.metrics.compute(), self.metrics.cards
        evidence = self.metrics.evidence
        label = torch.cat(labels) if labels else None
        said = tuple(texts) if texts else None
        return Evaluation(values, cards, torch.cat(drawn), label, 0, 0.0, texts=said, evidence=evidence)
