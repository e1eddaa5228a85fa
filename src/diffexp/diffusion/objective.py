"""The training objective: at which times, towards which target, with which weight.

    loss = simple · E[w(t) |x̂0 − x0|²]  +  vlb · T E[L_t],

L_t being the term of the variational bound at t, in bits per dimension (bound.py); T E[L_t] is their sum, so
that neither T nor the batch changes its size. `vlb` = 0.001 with the mean held is L_hybrid of Nichol &
Dhariwal 2021. The first term is formed in the space of the network's output, as w c_out² |F − F*|², for
|x̂0 − x0|² formed in float32 or bfloat16 is not exact near t = 1. Unit weight on F is SNR, 1, SNR + 1 for
eps, x0, v.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from diffexp.diffusion import bound
from diffexp.diffusion.denoiser import Denoiser
from diffexp.diffusion.prediction import target
from diffexp.diffusion.schedule import like
from diffexp.diffusion.times import Times
from diffexp.diffusion.variance import Variance
from diffexp.diffusion.weighting import Weighting
from diffexp.errors import ConfigError


class Losses(NamedTuple):
    """loss: 0-dim; mse: (B,), |F − F*|² averaged over the image; weighted: (B,); t: (B,); vlb: L_t (B,)."""

    loss: Tensor
    mse: Tensor
    weighted: Tensor
    t: Tensor
    vlb: Tensor | None = None


class Objective:
    """Weighted denoising loss at random times, and the bound if wanted. Raises ConfigError.

    With both, the bound trains the variance alone, as in the paper: the mean is held in it.
    """

    def __init__(self, weighting: Weighting, times: Times, simple: float = 1.0, vlb: float = 0.0) -> None:
        if min(simple, vlb) < 0 or max(simple, vlb) == 0:
            raise ConfigError(f"simple={simple}, vlb={vlb}", "objective", "give 0 or more, not both 0")
        if vlb and not times.on_chain:
            do = "use times=uniform or stratified, or objective=simple"
            raise ConfigError("the bound is a sum over the steps of the chain", "times", do)
        self.weighting, self.times, self.simple, self.vlb = weighting, times, simple, vlb

    def check(self, variance: Variance) -> None:
        """Raises ConfigError for a variance that this objective would not train, or has not to train."""
        learned = variance.outputs > 1
        if learned and not self.vlb:
            do = "use objective=hybrid or vlb, or variance=fixed_small"
            raise ConfigError("objective=simple does not train a learned variance", "variance", do)
        if self.simple and self.vlb and not learned:
            do = "use variance=learned_range, or objective=simple"
            raise ConfigError("objective=hybrid has no variance to train", "objective", do)

    def __call__(
        self, denoiser: Denoiser, x0: Tensor, cond: Tensor | None, generator: torch.Generator
    ) -> Losses:
        """x0: (B, C, H, W) in [−1, 1]; times and noise come from `generator`, on the device of x0."""
        t = self.times(len(x0), denoiser.schedule, generator)
        noise = torch.randn(x0.shape, generator=generator, device=x0.device, dtype=x0.dtype)
        return self.at(denoiser, x0, cond, t, noise)

    def at(self, denoiser: Denoiser, x0: Tensor, cond: Tensor | None, t: Tensor, noise: Tensor) -> Losses:
        """The loss at given times t, float64 (B,), and noise, of the shape of x0."""
        t = t.view(-1, *[1] * (x0.ndim - 1))
        level = denoiser.schedule(t)
        c = denoiser.prediction(level)
        a, b = target(c, level)
        x_t = like(level.alpha, x0) * x0 + like(level.sigma, x0) * noise
        out, frac = denoiser.output(x_t, t, cond)
        error = out - (like(a, x0) * x0 + like(b, x0) * noise)  # F − F*
        mse = error.square().flatten(1).mean(1)
        c_out = torch.as_tensor(c.c_out, dtype=torch.float64, device=x0.device).expand_as(t)
        weight = (self.weighting(level, c_out) * c_out**2).flatten().to(x0.dtype)
        weighted = weight * mse
        loss, bits = self.simple * weighted.mean(), None
        if self.vlb:
            held = error.detach() if self.simple else error
            bits = bound.step(denoiser.schedule, x0, like(c_out, x0) * held, t, frac)
            loss = loss + self.vlb * denoiser.schedule.T * bits.mean()
            bits = bits.detach()
        return Losses(loss, mse.detach(), weighted.detach(), t.flatten(), bits)
