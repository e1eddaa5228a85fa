"""Signs that are seen without a model: saturation, sharpness, and how far images differ from each other."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Signs:
    """saturated: the share of values that are 0 or 255; sharpness: the mean energy of the spectrum above half
    of its highest frequency, of values from 0 to 1; spread: the mean variance of a pixel over the images.
    """

    saturated: float
    sharpness: float
    spread: float


@dataclass(frozen=True)
class SignsOfEach:
    """The share of values that are 0 or 255 of each image, and its sharpness, float64 (N,)."""

    saturated: Tensor
    sharpness: Tensor


def each_of(images: Tensor) -> SignsOfEach:
    """Return the signs of each of the images uint8 (N, C, H, W)."""
    saturated = ((images == 0) | (images == 255)).double().flatten(1).mean(1)
    spectrum = torch.fft.fft2(images.double() / 255, norm="ortho").abs().square()
    rows, columns = (torch.fft.fftfreq(side, dtype=torch.float64).abs() for side in images.shape[2:])
    high = torch.maximum(rows[:, None], columns[None]) > 0.25  # 0.5 is the highest
    return SignsOfEach(saturated, spectrum[..., high].sum(-1).mean(1) / high.numel())


def signs_of(images: Tensor) -> Signs:
    """Return the signs of images uint8 (N, C, H, W)."""
    each, values = each_of(images), images.double() / 255
    spread = values.var(0, correction=0).mean() if len(values) > 1 else torch.zeros(())
    return Signs(float(each.saturated.mean()), float(each.sharpness.mean()), float(spread))
