"""The bits per dimension that a model needs for an image, by the variational bound (bound.py)."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from diffexp.diffusion import bound
from diffexp.diffusion.denoiser import Denoise
from diffexp.diffusion.schedule import Schedule, like


@dataclass(frozen=True)
class Bits:
    """step: the numbers i = tT of the steps that were evaluated, (S,); terms: L_t in bits/dim, (S, B), L_0
    first; prior: L_T, (B,); share: how many steps each evaluated one stands for, (S,).
    """

    step: Tensor
    terms: Tensor
    prior: Tensor
    share: Tensor

    @property
    def total(self) -> Tensor:
        """The bound of each image, (B,)."""
        return self.prior + (self.share[:, None] * self.terms).sum(0)


def chosen(T: int, steps: int | None) -> tuple[Tensor, Tensor]:
    """(i, share): all steps of the chain, or the first, and the middles of at most `steps` − 1 parts of the
    rest, which are even in √t, for the terms change fastest where there is little noise.
    """
    if steps is None or steps >= T:
        return torch.arange(1, T + 1), torch.ones(T, dtype=torch.float64)
    edges = (2 + (T - 1) * torch.linspace(0, 1, steps, dtype=torch.float64) ** 2).round().long().unique()
    middle = (edges[:-1] + edges[1:] - 1) // 2
    share = torch.cat([torch.ones(1), edges.diff()]).double()
    return torch.cat([torch.ones(1, dtype=torch.int64), middle]), share


@torch.no_grad()
def bits_per_dim(
    denoise: Denoise,
    schedule: Schedule,
    x0: Tensor,
    noise: Callable[[int], Tensor],
    cond: Tensor | None = None,
    steps: int | None = None,
    on_step: Callable[[int], None] | None = None,
) -> Bits:
    """x0: (B, C, H, W), 8-bit values in [−1, 1]. noise(i): that of step i, (B, C, H, W).

    steps: how many terms to evaluate, None for all; fewer are a midpoint rule. on_step: told how many are
    done. Ho et al. 2020, eq. 5.
    """
    index, share = chosen(schedule.T, steps)
    terms = []
    for done, i in enumerate(index.tolist(), 1):
        t = torch.full((), i / schedule.T, dtype=torch.float64)
        level = schedule(t)
        x_t = like(level.alpha, x0) * x0 + like(level.sigma, x0) * noise(i)
        p = denoise(x_t, t, cond)
        each = t.expand(len(x0)).view(-1, *[1] * (x0.ndim - 1)).to(x0.device)
        terms.append(bound.step(schedule, x0, p.x0 - x0, each, p.frac).double().cpu())
        if on_step is not None:
            on_step(done)
    return Bits(index, torch.stack(terms), bound.prior(schedule, x0).cpu(), share)
