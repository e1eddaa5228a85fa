"""The bits per dimension that a model needs for an image, by the variational bound (bound.py)."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from diffexp.condition import Condition
from diffexp.diffusion import bound
from diffexp.diffusion.denoiser import Denoise
from diffexp.diffusion.schedule import Schedule, like
from diffexp.randomness import Draws
from diffexp.untyped import ndtr, unique


@dataclass(frozen=True)
class Bits:
    """step: the numbers i = tT of the steps that were evaluated, (S, B); terms: L_t in bits/dim, (S, B), L_0
    first; small, large: the same of a fixed variance, with the same x̂0; prior: L_T, (B,); share: how many
    steps each evaluated one stands for, (S,).
    """

    step: Tensor
    terms: Tensor
    small: Tensor
    large: Tensor
    prior: Tensor
    share: Tensor

    @property
    def total(self) -> Tensor:
        """The bound of each image, (B,)."""
        return self.prior + (self.share[:, None] * self.terms).sum(0)


def parts(T: int, steps: int | None) -> Tensor:
    """The edges of parts of the chain, int64: the first step, and at most `steps` − 1 parts of the rest,
    which are even in √t, for the terms change fastest where there is little noise; None: each step for
    itself.
    """
    if steps is None or steps >= T:
        return torch.arange(1, T + 2)
    edges = (2 + (T - 1) * torch.linspace(0, 1, steps, dtype=torch.float64) ** 2).round().long()
    return torch.cat([torch.ones(1, dtype=torch.int64), unique(edges)])


@torch.no_grad()
def bits_per_dim(
    denoise: Denoise,
    schedule: Schedule,
    x0: Tensor,
    noise: Draws,
    cond: Condition | None = None,
    steps: int | None = None,
    on_step: Callable[[int], None] | None = None,
    cdf: Callable[[Tensor], Tensor] = ndtr,
) -> Bits:
    """x0: (B, C, H, W), 8-bit values in [−1, 1]. noise(k): that of the k-th part, (B, C, H, W).

    steps: how many terms to evaluate, None for all. Of fewer, each image has one of its own in each part, any
    with the same probability: so the total has the right mean, and what it lacks is in the spread over
    images.
    on_step: told how many are done; cdf: of the decoder. Ho et al. 2020, eq. 5.
    """
    edges = parts(schedule.T, steps)
    # one uniform number an image, moved on from part to part
    u = ndtr(noise(0).flatten(1)[:, 0].double()).cpu()
    found: dict[str, list[Tensor]] = {"step": [], "terms": [], "small": [], "large": []}
    for k in range(1, len(edges)):
        low, high = edges[k - 1], edges[k]
        step = low + ((u + 0.618034 * k) % 1 * (high - low)).long()
        t = (step.double() / schedule.T).view(-1, *[1] * (x0.ndim - 1)).to(x0.device)
        level = schedule(t)
        x_t = like(level.alpha, x0) * x0 + like(level.sigma, x0) * noise(k)
        p = denoise(x_t, t, cond)
        found["step"].append(step)
        for name, frac in (("terms", p.frac), ("small", -1.0), ("large", 1.0)):
            bits = bound.step(schedule, x0, p.x0 - x0, t, frac, cdf)
            found[name].append(bits.double().cpu())
        if on_step is not None:
            on_step(k)
    stacked = {name: torch.stack(rows) for name, rows in found.items()}
    return Bits(**stacked, prior=bound.prior(schedule, x0).cpu(), share=edges.diff().double())
