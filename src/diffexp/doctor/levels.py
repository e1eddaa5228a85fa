"""The error of the network by noise level, over that of the best linear denoiser.

    x̂0 = m + Σ_i u_i (α λ_i/(α² λ_i + σ²)) ⟨u_i, x_t − α m⟩,   C = Σ λ_i u_i u_iᵀ

m and C are mean and covariance of training images: the bound of a Gaussian in closed form (Wiener 1949),
which any network that has learnt should be below. Levels are σ/α, evenly in its logarithm.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from diffexp.condition import Asked, Condition
from diffexp.data.dataset import SplitName
from diffexp.diffusion.prediction import c_noise
from diffexp.diffusion.schedule import Schedule, like
from diffexp.doctor.patient import Patient
from diffexp.model.model import Model
from diffexp.randomness import Noise, key

LEVELS, LOW, HIGH = 8, 0.1, 8.0  # of σ/α: below all is nearly clean, above nearly all is noise
IMAGES, FITTED = 160, 1500  # of a split that are looked at; of the training split, for the linear denoiser
BATCH = 320
Told = Literal["own", "others", "nothing"]


@dataclass(frozen=True)
class Linear:
    """The best linear denoiser of latents (N, D)."""

    mean: Tensor
    basis: Tensor
    variance: Tensor

    @staticmethod
    def of(x0: Tensor) -> "Linear":
        """Return that of these images, any shape (N, ...)."""
        flat = x0.flatten(1).double()
        mean = flat.mean(0)
        _, s, basis = torch.linalg.svd(flat - mean, full_matrices=False)
        return Linear(mean, basis.T, s.square() / max(1, len(flat) - 1))

    def error(self, x0: Tensor, noise: Tensor, alpha: float, sigma: float) -> Tensor:
        """Return the mean squared error of x̂0 of each image, (N,)."""
        x0, noise = x0.flatten(1).double(), noise.flatten(1).double()
        gain = alpha * self.variance / (alpha**2 * self.variance + sigma**2)
        seen = (alpha * (x0 - self.mean) + sigma * noise) @ self.basis
        return (self.mean + (gain * seen) @ self.basis.T - x0).square().mean(1)


def ratios(schedule: Schedule) -> Tensor:
    """Return the levels σ/α, float64 (LEVELS,), that the schedule has."""
    ends = schedule(torch.tensor([1 / schedule.T, 1.0], dtype=torch.float64)).ratio
    low, high = max(LOW, float(ends[0])), min(HIGH, float(ends[1]))
    return torch.logspace(math.log10(low), math.log10(max(high, 1.01 * low)), LEVELS, dtype=torch.float64)


@dataclass(frozen=True)
class Shown:
    """Images of a split as the network sees them: x0 and noise (N, C, H, W), and what was asked."""

    split: SplitName
    x0: Tensor
    noise: Tensor
    asked: Asked


def shown(patient: Patient, split: SplitName, most: int | None = None) -> Shown:
    """Return images of a split, evenly from all of it, with noise of their own; by default no more than are
    drawn.
    """
    most = min(IMAGES, patient.n) if most is None else most
    images, model = patient.data.split(split), patient.model
    index = torch.linspace(0, len(images) - 1, min(most, len(images))).long().unique()
    batch = images.batch(index)
    x0 = torch.cat([model.codec.encode(part.to(patient.device)).cpu() for part in batch.image.split(BATCH)])
    noise = Noise(key(patient.seed, "doctor"), index, tuple(x0.shape[1:]), "cpu")(0)
    return Shown(split, x0, noise, batch.asked)


def condition(model: Model, asked: Asked, told: Told) -> Condition | None:
    """Return what the network is told: of each image, of another one, or nothing. None without
    conditioning.
    """
    if not model.conditioning.asks:
        return None
    if told == "nothing":
        return model.conditioning.null(asked)
    if told == "others":
        asked = asked[another(asked)]
    return model.condition(asked)


def another(asked: Asked) -> Tensor:
    """Return for each row the number of one that asks for something else, if there is one, or its own."""
    n = len(asked)
    said = (
        list(asked.text)
        if asked.text is not None
        else asked.label.tolist()
        if asked.label is not None
        else []
    )
    order = torch.arange(n)
    for i in range(n) if said else ():
        order[i] = next(((i + k) % n for k in range(n // 2, n // 2 + n) if said[(i + k) % n] != said[i]), i)
    return order


Label = Callable[[Tensor], Tensor]
"""Of noise levels σ/α float64 (N,) what the network is given as the time, (N,)."""


def errors(patient: Patient, images: Shown, told: Told = "own", label: Label | None = None) -> Tensor:
    """Return the squared error of x̂0 of each image at each level, float64 (LEVELS, N). label: what the
    network is given as the time, in place of the schedule's.
    """
    name = f"errors {images.split} {len(images.x0)} {told}"
    if label is not None:
        return _errors(patient, images, told, label)
    return patient.once(name, lambda: _errors(patient, images, told, None))


@torch.no_grad()
def _errors(patient: Patient, images: Shown, told: Told, label: Label | None) -> Tensor:
    model, device = patient.model.eval(), patient.device
    schedule = model.denoiser.schedule
    cond = condition(model, images.asked.to(device), told)
    rows = list[Tensor]()
    for r in ratios(schedule):
        parts = list[Tensor]()
        for i in torch.arange(len(images.x0)).split(BATCH):
            x0, noise = images.x0[i].to(device), images.noise[i].to(device)
            some = None if cond is None else cond[i.to(device)]
            t = schedule.time(r.atan().expand(len(i))).clamp(1 / schedule.T, 1)
            guess = _denoised(model, x0, noise, t.to(device), r.expand(len(i)).to(device), some, label)
            parts.append((guess - x0).double().square().flatten(1).mean(1).cpu())
        rows.append(torch.cat(parts))
    return torch.stack(rows)


def _denoised(
    model: Model, x0: Tensor, noise: Tensor, t: Tensor, r: Tensor, cond: Condition | None, label: Label | None
) -> Tensor:
    """Return x̂0."""
    d, t = model.denoiser, t.view(-1, *[1] * (x0.ndim - 1))
    level = d.schedule(t)
    x_t = like(level.alpha, x0) * x0 + like(level.sigma, x0) * noise
    if label is None:
        return d(x_t, t, cond).x0
    c = d.prediction(level)
    x_in = x_t if isinstance(c.c_in, float) and c.c_in == 1.0 else like(c.c_in, x_t) * x_t
    out, _ = d.variance.split(d.network(x_in, label(r).to(x_t.dtype), cond), d.schedule, t)
    return like(c.c_skip, x_t) * x_t + like(c.c_out, x_t) * out


def label_of(patient: Patient, schedule: Schedule) -> Label:
    """Return what the network would be given as the time if it had another schedule."""
    prediction = patient.model.denoiser.prediction

    def label(r: Tensor) -> Tensor:
        t = schedule.time(r.atan().cpu()).clamp(1 / schedule.T, 1)
        return c_noise(prediction, t, schedule).to(r.device)

    return label


def linear_errors(patient: Patient, images: Shown) -> Tensor:
    """Return the error of the best linear denoiser of the training images, float64 (LEVELS, N)."""
    linear = patient.once("linear", lambda: Linear.of(shown(patient, "train", FITTED).x0))
    levels = [
        (1 / math.hypot(1, r), r / math.hypot(1, r)) for r in ratios(patient.model.denoiser.schedule).tolist()
    ]
    return torch.stack([linear.error(images.x0, images.noise, a, s) for a, s in levels])


def z_of(values: Tensor) -> float:
    """Return the mean of values (N,) over its standard error; 0 for fewer than two."""
    if len(values) < 2:
        return 0.0
    error = float(values.std()) / len(values) ** 0.5
    return float(values.mean()) / error if error > 0 else math.copysign(math.inf, float(values.mean()) or 1.0)
