"""What an evaluation has found: numbers, how they were made, and the first images."""

import base64
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from diffexp.metrics.metric import Card
from diffexp.pictures import captioned, grid, save

MOST = 200_000  # numbers of features that are kept beside a picture, two bytes each


@dataclass
class Evaluation:
    """values by key, the card of each, the first images uint8 (P, C, H, W) with their labels (P,) and
    texts. evidence: what a comparison needs (see MetricSet.compute); pairing: what must be the same in
    another evaluation for its noise, classes and captions to be the same, image by image. pictures: of
    metrics. features: what they are by, and those of the images, (P, dim).
    """

    values: dict[str, float]
    cards: dict[str, Card]
    images: Tensor
    labels: Tensor | None
    nfe: float
    seconds: float
    protocol: dict[str, Any] = field(default_factory=dict)
    texts: tuple[str, ...] | None = None
    evidence: dict[str, Tensor] = field(default_factory=dict)
    pairing: dict[str, Any] = field(default_factory=dict)
    ranks: int = 1
    pictures: dict[str, Image.Image] = field(default_factory=dict)
    features: tuple[str, Tensor] | None = None

    def draw(self, names: tuple[str, ...] | None, title: str, path: Path) -> Path:
        """The images as a PNG: each beside its caption, or one row per class, if there are some; those of
        metrics beside it, under their names: PATH_copies.png. The file says of which noise they are, for
        reports. names: of the classes.
        """
        for name, picture in self.pictures.items():
            save(picture, path.with_name(f"{path.stem}_{name}.png"))
        images, labels, order = self.images, None, torch.arange(len(self.images))
        if self.texts is not None:
            save(self._said(captioned(self.images, self.texts, title), order), path)
            return path
        if self.labels is not None:
            order = torch.argsort(self.labels, stable=True)
            images = images[order]
            labels = [names[i] if names else str(i) for i in self.labels[order].tolist()]
        save(self._said(grid(images, labels, title=title), order), path)
        return path

    def _said(self, page: Image.Image, order: Tensor) -> Image.Image:
        """Return the page with the numbers of its images, and what they were asked for and made of."""
        if self.pairing:
            labels = None if self.labels is None else self.labels.tolist()
            asked = hashlib.sha256(json.dumps([labels, self.texts]).encode()).hexdigest()[:12]
            numbers = [self.ranks * int(i) for i in order]
            page.info["tiles"] |= {"numbers": numbers, "asked": asked, "noise": self.pairing["noise"]}
            page.info["tiles"] |= self._features(order)
        return page

    def _features(self, order: Tensor) -> dict[str, Any]:
        """Return the features of the images in that order, as float16, where there are not too many."""
        if self.features is None or self.features[1].numel() > MOST:
            return {}
        halves = self.features[1][order].half()
        if not halves.isfinite().all():
            return {}
        return {"by": self.features[0], "features": base64.b64encode(halves.numpy().tobytes()).decode()}
