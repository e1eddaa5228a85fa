"""The scale of latents: 1 / deviation over the training set, with its error, and channels that are dead."""

from collections.abc import Iterable, Mapping
from math import isfinite
from typing import Any, NamedTuple

import torch
from torch import Tensor

from diffexp.archive import is_list

DEAD = 0.01  # of the variance of a channel: less of it comes from the images, the rest from the posterior


class Scale(NamedTuple):
    """Latents become x = factor (z − mean). factor: one number, or one for each channel; error: the standard
    error of each; mean: of each channel, or [0]; images: how many it was measured on, 0 where it was given;
    dead: how many of the channels hardly depend on the image.
    """

    factor: list[float]
    error: list[float]
    mean: list[float]
    images: int
    dead: int
    channels: int

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "Scale":
        """Return a scale out of a file. Raises ValueError for what is none."""
        factor, error, mean = (_numbers(values.get(name)) for name in ("factor", "error", "mean"))
        images, dead, channels = (_count(values.get(name)) for name in ("images", "dead", "channels"))
        if not factor or len(error) != len(factor) or not all(0 < v < 1e9 for v in factor) or not mean:
            raise ValueError("factor has to be positive, with an error for each, and a mean")
        return cls(factor, error, mean, images, dead, channels)


def _count(value: object) -> int:
    if type(value) is not int or value < 0:
        raise ValueError("images, dead and channels have to be counts")
    return value


def _numbers(value: object) -> list[float]:
    if not is_list(value) or not all(type(v) is float and isfinite(v) for v in value):
        raise ValueError("factor, error and mean have to be lists of numbers")
    return value


def measured(moments: Iterable[Tensor], each: bool, centred: bool) -> Scale:
    """Return the scale that gives draws of q(z|x) unit deviation: of each channel, or of all numbers; about
    the mean of each channel, if `centred`.

    moments: mean and deviation of z, (B, 2 L, h, w), of all images in turn. Var z = E[mean² + deviation²] −
    E[mean]²; the error is that of the sample of images, by the delta method. Raises ZeroDivisionError where a
    deviation is zero.
    """
    rows = torch.cat([_sums(part) for part in moments])  # (N, 3, L)
    first, second, noise = rows.unbind(1)
    mean = first.mean(0)
    own = (second - noise).mean(0) - mean.square()  # of the means, over images and places
    dead = int((own <= DEAD * (own + noise.mean(0)).clamp(min=1e-12)).sum())
    taken = mean if centred else torch.zeros_like(mean)
    if not (each or centred):
        first, second = first.mean(1, keepdim=True), second.mean(1, keepdim=True)
        mean = first.mean(0)
    variance, influence = second.mean(0) - mean.square(), second - 2 * mean * first  # of an image, + const
    if not each:
        variance, influence = variance.mean(0, keepdim=True), influence.mean(1, keepdim=True)
    if not (variance > 1e-12).all():
        raise ZeroDivisionError
    of_variance = influence.std(0) / len(rows) ** 0.5 if len(rows) > 1 else torch.zeros_like(variance)
    numbers = (variance**-0.5, of_variance / (2 * variance**1.5), taken)
    factor, error, centre = ([float(v) for v in values] for values in numbers)
    return Scale(factor, error, centre, len(rows), dead, len(own))


def _sums(moments: Tensor) -> Tensor:
    """Return the means over places of mean, mean² + deviation², and deviation²: (B, 3, L), float64."""
    mean, deviation = moments.double().flatten(2).chunk(2, 1)
    square = deviation.square()
    return torch.stack([mean.mean(2), (mean.square() + square).mean(2), square.mean(2)], 1).cpu()
