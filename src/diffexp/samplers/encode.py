"""The flow from an image to its noise, and ways between two noises. Song et al. 2021 (DDIM), section 5."""

from collections.abc import Iterator
from itertools import pairwise

import torch
from torch import Tensor

from diffexp.condition import Condition
from diffexp.diffusion.denoiser import Denoise
from diffexp.diffusion.schedule import Schedule
from diffexp.samplers.sampler import Sampler
from diffexp.samplers.table import ddim


def encode(
    denoise: Denoise, schedule: Schedule, sampler: Sampler, x0: Tensor, cond: Condition | None = None
) -> Iterator[Tensor]:
    """x at each of the sampler's times, from the least noisy to the noisiest, by DDIM's step (η = 0).

    The image itself stands for x at the least noisy time, for at 0 there is no ε to predict.
    """
    times = sampler.grid(schedule)[:-1].flip(0)
    x = schedule(times[0]).alpha * x0
    yield x
    for t, s in pairwise(times):
        x = ddim(schedule(t), schedule(s))(x, [denoise(x, t, cond)])
        yield x


def slerp(a: Tensor, b: Tensor, share: Tensor) -> Tensor:
    """Along the great circle from a to b, (B, C, H, W) each, at share 0..1 of the way, (S,): (S, B, C, H, W).

    Unlike a straight line it keeps the length, and so the noise level. Shoemake 1985.
    """
    dims = tuple(range(1, a.ndim))
    cos = (a * b).sum(dims, keepdim=True) / (
        a.square().sum(dims, keepdim=True) * b.square().sum(dims, keepdim=True)
    ).sqrt()
    angle = cos.clamp(-1, 1).acos().clamp(min=1e-6)
    share = share.view(-1, *[1] * a.ndim).to(a.dtype)
    return (torch.sin((1 - share) * angle) * a + torch.sin(share * angle) * b) / torch.sin(angle)
