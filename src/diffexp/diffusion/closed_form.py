"""Networks that need no training: the optimal denoiser of data whose distribution is known.

E[x0 | x_t] and Var[x0 | x_t], pixel by pixel, are all of a model; written as the F and the frac that a
network would give, they pass for one. What a sampler does to them is its own error, and nothing else.
"""

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from diffexp.codecs import Codec, Pixels
from diffexp.condition import Condition
from diffexp.diffusion.prediction import Parameterization, time_of
from diffexp.diffusion.schedule import Level, Schedule, like
from diffexp.diffusion.variance import Learned, LearnedRange, Variance, log_variance

_CHUNK = 4096  # images of the data set at once


class ClosedForm(nn.Module, ABC):
    """(c_in x, c_noise, cond) -> F, and frac where the variance is learned: the optimal one of a step of the
    chain, as far as it lies between the bounds. Other arguments are those of any network.
    """

    def __init__(
        self,
        schedule: Schedule,
        prediction: Parameterization,
        variance: Variance,
        num_classes: int | None = None,
    ) -> None:
        super().__init__()
        self.schedule, self.prediction, self.variance, self.null = schedule, prediction, variance, num_classes

    @abstractmethod
    def moments(self, x: Tensor, level: Level, cond: Condition | None) -> tuple[Tensor, Tensor]:
        """E[x0 | x_t] and Var[x0 | x_t] of each pixel, of the shape of x; levels of shape (B, 1, 1, 1)."""

    def forward(self, x_in: Tensor, noise: Tensor, cond: Condition | None = None) -> Tensor:
        t = self._unblurred(time_of(self.prediction, noise, self.schedule)).view(-1, *[1] * (x_in.ndim - 1))
        level = self.schedule(t)
        c = self.prediction(level)
        x = x_in / like(c.c_in, x_in)
        x0, var = self.moments(x, level, cond)
        out = (x0 - like(c.c_skip, x) * x) / like(c.c_out, x)
        if not isinstance(self.variance, LearnedRange | Learned):
            return out
        return torch.cat([out, self.variance.channels(self._frac(t, var), self.schedule, t)], 1)

    def _unblurred(self, t: Tensor) -> Tensor:
        """float64; times of the chain, which float32 has blurred, exactly."""
        steps = t.double() * self.schedule.T
        near = (steps - steps.round()).abs() < 1e-3
        return torch.where(near, steps.round(), steps) / self.schedule.T

    def _frac(self, t: Tensor, var: Tensor) -> Tensor:
        s = (t - 1 / self.schedule.T).clamp(min=0)
        q = self.schedule.posterior(s, t)
        low, high = (log_variance(self.schedule, s, t, torch.tensor(f)) for f in (-1.0, 1.0))
        best = (q.var + q.c_0**2 * var.double()).clamp(min=1e-300).log()
        return (2 * (best - low) / (high - low) - 1).clamp(-1, 1).to(var.dtype)


class Mixture(ClosedForm):
    """Each pixel for itself is from Σ weights N(means, stds²).

    A label sets the component, the null label leaves it open.
    """

    def __init__(
        self,
        schedule: Schedule,
        prediction: Parameterization,
        variance: Variance,
        means: tuple[float, ...] = (-1.0, 0.6),
        stds: tuple[float, ...] = (0.25, 0.15),
        weights: tuple[float, ...] = (0.3, 0.7),
        num_classes: int | None = None,
        **of_any_network: Any,
    ) -> None:
        super().__init__(schedule, prediction, variance, num_classes)
        table = torch.tensor([means, stds, weights], dtype=torch.float64)
        self.register_buffer("table", table, persistent=False)

    def moments(self, x: Tensor, level: Level, cond: Condition | None) -> tuple[Tensor, Tensor]:
        means, stds, weights = self.get_buffer("table").to(x.device)
        alpha, sigma = (u[..., None] for u in level)
        spread = alpha**2 * stds**2 + sigma**2
        far = x[..., None].double() - alpha * means
        score = weights.log() - 0.5 * spread.log() - far**2 / (2 * spread)
        label = None if cond is None else cond.label
        if label is not None:
            chosen = (label[:, None] == torch.arange(len(means), device=x.device)) | (
                label[:, None] >= len(means)
            )
            score = score.masked_fill(~chosen.view(len(label), *[1] * (x.ndim - 1), -1), -torch.inf)
        share = score.softmax(-1)
        each, var = means + alpha * stds**2 / spread * far, stds**2 * sigma**2 / spread
        mean = (share * each).sum(-1)
        return mean.to(x.dtype), ((share * (var + each**2)).sum(-1) - mean**2).clamp(min=0).to(x.dtype)


class Gaussian(Mixture):
    """Each pixel for itself is from N(mean, std²)."""

    def __init__(
        self,
        schedule: Schedule,
        prediction: Parameterization,
        variance: Variance,
        mean: float = 0.2,
        std: float = 0.5,
        num_classes: int | None = None,
        **of_any_network: Any,
    ) -> None:
        super().__init__(schedule, prediction, variance, (mean,), (std,), (1.0,), num_classes)

    def moments(self, x: Tensor, level: Level, cond: Condition | None) -> tuple[Tensor, Tensor]:
        return super().moments(x, level, None)


class Ideal(ClosedForm):
    """The data are the images of `split`, each as likely as the others: what a large network would learn, if
    it learned by heart. A label leaves its images, the null label all.

    data: has `batches(split)` of uint8 images and labels; they are read when first needed, and gone through
    in chunks.
    """

    def __init__(
        self,
        schedule: Schedule,
        prediction: Parameterization,
        variance: Variance,
        data: Any,
        codec: Codec | None = None,
        split: str = "train",
        num_classes: int | None = None,
        **of_any_network: Any,
    ) -> None:
        super().__init__(schedule, prediction, variance, num_classes)
        self.data, self.codec, self.split = data, codec or Pixels(), split
        self._read: tuple[Tensor, Tensor | None] | None = None

    def images(self, device: torch.device) -> tuple[Tensor, Tensor | None]:
        """uint8 (N, C, H, W) and labels, on that device."""
        if self._read is None or self._read[0].device != device:
            batches = list(self.data.batches(self.split, 1024))
            images = torch.cat([b.image for b in batches]).to(device)
            named = batches[0].label is not None
            self._read = images, torch.cat([b.label for b in batches]).to(device) if named else None
        return self._read

    def moments(self, x: Tensor, level: Level, cond: Condition | None) -> tuple[Tensor, Tensor]:
        images, labels = self.images(x.device)
        label = None if cond is None else cond.label
        flat = x.flatten(1)
        gain = (level.alpha / level.sigma**2).flatten()[:, None]  # of the logit, ⟨x, y⟩ − α |y|²/2
        alpha = level.alpha.flatten()[:, None]
        top = flat.new_full((len(x), 1), -torch.inf, dtype=torch.float64)
        total, first, second = torch.zeros_like(top), torch.zeros_like(flat), torch.zeros_like(flat)
        for i in range(0, len(images), _CHUNK):
            y = self.codec.encode(images[i : i + _CHUNK]).flatten(1).to(flat)
            logit = gain * ((flat @ y.T).double() - alpha * y.double().square().sum(1) / 2)
            if label is not None and labels is not None:
                here = (label[:, None] == labels[i : i + _CHUNK]) | (label[:, None] == self.null)
                logit = logit.masked_fill(~here, -torch.inf)
            new = torch.maximum(top, logit.amax(1, keepdim=True)).clamp(min=-1e300)
            share, keep = (logit - new).exp(), (top - new).exp()
            total = keep * total + share.sum(1, keepdim=True)
            share, keep = share.to(flat), keep.to(flat)
            first, second = keep * first + share @ y, keep * second + share @ y.square()
            top = new
        mean, square = (z / total.to(flat) for z in (first, second))
        return mean.view_as(x), (square - mean.square()).clamp(min=0).view_as(x)
