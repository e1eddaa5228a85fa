"""Closed-form denoisers, as networks: what a sampler should do to them is known."""

import torch
from torch import nn

from diffexp.condition import Condition
from diffexp.conditioning import ClassLabel
from diffexp.diffusion import Denoiser, FixedSmall
from diffexp.diffusion.variance import log_variance
from diffexp.samplers import DDIM, DDPM


class Gaussian(nn.Module):
    """The network whose x̂0 is E[x0 | x_t] for x0 ~ N(mean, std²), every pixel for itself.

    means: one for each class and, last, for the null label; or one number. Learned variance: the optimal one
    of a step of the chain, as far as it lies between the bounds.
    """

    def __init__(self, schedule, prediction, variance, means=0.2, std=0.5):
        super().__init__()
        self.schedule, self.prediction, self.variance, self.std = schedule, prediction, variance, std
        self.means = torch.as_tensor(means, dtype=torch.float64)

    def forward(self, x_in, t, cond=None):
        T = self.schedule.T
        steps = t.double() * T
        on_chain = (steps - steps.round()).abs() < 1e-3  # what float32 has blurred
        t = (torch.where(on_chain, steps.round(), steps) / T).view(-1, 1, 1, 1)
        level, mean = self.schedule(t), self.means
        if cond is not None:
            mean = mean[cond.label].view(-1, 1, 1, 1)
        c = self.prediction(level)
        x = x_in.double() / c.c_in
        unknown = self.std**2 * level.sigma**2 / (level.alpha**2 * self.std**2 + level.sigma**2)
        x0 = unknown * (mean / self.std**2 + level.alpha * x / level.sigma**2)
        out = (x0 - c.c_skip * x) / c.c_out
        if self.variance.outputs == 2:
            frac = self.variance.channels(self._frac(t, unknown), self.schedule, t)
            out = torch.cat([out, frac.expand_as(out)], 1)
        return out.to(x_in.dtype)

    def _frac(self, t, unknown):
        s = (t - 1 / self.schedule.T).clamp(min=0)
        q = self.schedule.posterior(s, t)
        low, high = (log_variance(self.schedule, s, t, torch.tensor(f)) for f in (-1.0, 1.0))
        best = (q.var + q.c_0**2 * unknown).clamp(min=1e-300).log()
        return (2 * (best - low) / (high - low) - 1).clamp(-1, 1)


def told(label, null=None):
    """The condition of these labels; null: the label that guidance goes away from."""
    away = None if null is None else Condition(label=torch.full_like(label, int(null)))
    return Condition(label=label, null=away)


def classes(n, dropout=0.1):
    """A conditioning of n classes."""
    made = ClassLabel(dropout)
    made.setup(n)
    return made


def gaussian(schedule, prediction, variance=None, means=0.2, std=0.5):
    """A Denoiser of that data."""
    variance = variance or FixedSmall()
    return Denoiser(Gaussian(schedule, prediction, variance, means, std), schedule, prediction, variance)


def flow(schedule, x, t, mean=0.2, std=0.5):
    """Where the probability-flow ODE takes x at time t: x0 = mean + std (x − α mean)/√(α² std² + σ²)."""
    level = schedule(t)
    spread = (level.alpha**2 * std**2 + level.sigma**2).sqrt()
    return mean + std * (x - level.alpha * mean) / spread


def moments(sampler, denoiser, mean=0.2, std=0.5):
    """Mean and variance of what DDPM or DDIM makes of that data: each step is affine in x, its noise known.

    Guidance leaves it so, with the mean null + w (class − null).
    """
    schedule, m, v = denoiser.schedule, torch.zeros(()).double(), torch.ones(()).double()
    for _, t, s in sampler.pairs(schedule):
        at, to, q = schedule(t), schedule(s), schedule.posterior(s, t)
        unknown = std**2 * at.sigma**2 / (at.alpha**2 * std**2 + at.sigma**2)
        slope, offset = unknown * at.alpha / at.sigma**2, unknown * mean / std**2  # x̂0 = offset + slope x
        if isinstance(sampler, DDPM):
            a, b = q.c_x + q.c_0 * slope, q.c_0 * offset
            frac = {"fixed_small": -1.0, "fixed_large": 1.0}.get(sampler.variance)
            if frac is None:
                label = told(torch.zeros(1, dtype=torch.int64)) if denoiser.network.means.ndim else None
                frac = denoiser(torch.zeros(1, 1, 1, 1).double(), t, label).frac  # the same for any x
            noise = torch.as_tensor(log_variance(schedule, s, t, frac)).exp() * (s > 0)
        else:
            assert isinstance(sampler, DDIM)
            turn, fresh = sampler.scales(schedule, s, t)
            a = to.alpha * slope + turn * (1 - at.alpha * slope) / at.sigma
            b, noise = (to.alpha - turn * at.alpha / at.sigma) * offset, fresh**2
        m, v = a * m + b, a**2 * v + noise
    return float(m), float(v)
