"""A feature extractor: images -> numbers in which the distance of two sets of images is measured."""

import hashlib
from pathlib import Path

import torch
from torch import Tensor, nn

from diffexp.errors import DataError

CHUNK = 64  # images at a time: the Inception fills 6 MB with each


class Extractor(nn.Module):
    """A feature extractor: uint8 (B, C, H, W) -> float32 (B, dim).

    name: part of every metric's key, for values of different extractors are different numbers.
    sha256: of the weights file.
    """

    name: str
    dim: int
    sha256: str

    classifies = False
    """Whether it has `logits`."""

    def logits(self, features: Tensor) -> Tensor:
        """Map features, float (B, dim), to logits (B, classes), where it classifies."""
        raise NotImplementedError

    def check(self, shape: tuple[int, int, int]) -> None:
        """Check before training: the weights are here and take `shape`. Raises DataError, ConfigError."""
        raise NotImplementedError

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device


def extract(extractor: Extractor, images: Tensor) -> Tensor:
    """Return the features of uint8 images, on the extractor's device, in float32 whatever autocast is around
    it.

    Raises DataError where they are not finite: a comparison with NaN is false, and would make a score of it.
    """
    with torch.no_grad(), torch.autocast(extractor.device.type, enabled=False):
        parts = [extractor.eval()(part.to(extractor.device)) for part in images.split(CHUNK)]
    features = torch.cat(parts)
    if bad := int((~features.isfinite()).any(1).sum()):
        what = f"the features of {bad} of {len(features)} images are not finite"
        do = "check its weights file, or type another metrics.extractor.feature"
        raise DataError(what, "metrics.extractor", do)
    return features


def sha256_of(file: Path) -> str:
    """Return the digest of a file, in hexadecimal."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
