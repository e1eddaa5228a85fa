"""The scale of latents: 1 / deviation over the training set, with its error, and channels that are dead."""

from collections.abc import Iterable, Mapping
from math import isfinite
from typing import Any, NamedTuple

import torch
from torch import Tensor

from diffexp.archive import is_list

DEAD = 0.01  # of the variance of a channel: less of it comes from the images, the rest from the posterior


class Scale(NamedTuple):
    """factor: latents are multiplied with, one number or one for each channel; error: the standard error of
    each; images: how many it was measured on, 0 where it was given; dead: how many of the channels hardly
    depend on the image.
    """

    factor: list[float]
    error: list[float]
    images: int
    dead: int
    channels: int

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "Scale":
        """Return a scale out of a file. Raises ValueError for what is none."""
        factor, error = (_numbers(values.get(name)) for name in ("factor", "error"))
        images, dead, channels = (_count(values.get(name)) for name in ("images", "dead", "channels"))
        if not factor or len(error) != len(factor) or not all(0 < v < 1e9 for v in factor):
            raise ValueError("factor has to be positive, with an error for each")
        return cls(factor, error, images, dead, channels)


def _count(value: object) -> int:
    if type(value) is not int or value < 0:
        raise ValueError("images, dead and channels have to be counts")
    return value


def _numbers(value: object) -> list[float]:
    if not is_list(value) or not all(type(v) is float and isfinite(v) for v in value):
        raise ValueError("factor and error have to be lists of numbers")
    return value


def measured(moments: Iterable[Tensor], each: bool) -> Scale:
    """Return the scale that gives draws of q(z|x) unit deviation over all images, or of each channel.

    moments: mean and deviation of z, (B, 2 L, h, w), of all images in turn. Var z = E[mean² + deviation²] −
    E[mean]²; the error is that of the sample of images, by the delta method. Raises ZeroDivisionError where a
    deviation is zero.
    """
    rows = torch.cat([_sums(part) for part in moments])  # (N, 3, L)
    first, second, noise = rows.unbind(1)
    own = second.mean(0) - noise.mean(0) - first.mean(0).square()  # of the means, over images and places
    dead = int((own <= DEAD * (own + noise.mean(0)).clamp(min=1e-12)).sum())
    if not each:
        first, second = first.mean(1, keepdim=True), second.mean(1, keepdim=True)
    mean = first.mean(0)
    deviation = (second.mean(0) - mean.square()).clamp(min=0).sqrt()
    if not (deviation > 1e-6).all():
        raise ZeroDivisionError
    influence = second - second.mean(0) - 2 * mean * (first - mean)  # of an image, on the variance
    of_variance = influence.std(0) / len(rows) ** 0.5 if len(rows) > 1 else torch.zeros_like(mean)
    error = of_variance / (2 * deviation**3)
    factors, errors = ([float(v) for v in values] for values in (1 / deviation, error))
    return Scale(factors, errors, len(rows), dead, len(own))


def _sums(moments: Tensor) -> Tensor:
    """Return the means over places of mean, mean² + deviation², and deviation²: (B, 3, L), float64."""
    mean, deviation = moments.double().flatten(2).chunk(2, 1)
    square = deviation.square()
    return torch.stack([mean.mean(2), (mean.square() + square).mean(2), square.mean(2)], 1).cpu()
