"""The variational bound of the chain, term by term, in bits per dimension (Ho et al. 2020, eq. 5):

    −log2 p(x0)  ≤  L_T + Σ_{t > 1/T} L_t + L_0,

    L_T  KL(q(x_1 | x0) ‖ N(0, 1)),
    L_t  KL(q(x_s | x_t, x0) ‖ p(x_s | x_t)),  s = t − 1/T,
    L_0  −log of the mass that p(x_0 | x_{1/T}) gives to the 8-bit value of x0.

The means of q and p differ by c_0 (x̂0 − x0) only, so each term needs the error of x̂0 and the log-variance.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from diffexp.diffusion.schedule import Schedule
from diffexp.diffusion.variance import log_variance
from diffexp.untyped import ndtr

_LEAST = 1e-12  # the mass that a bin counts for at least, as in the papers' code


def prior(schedule: Schedule, x0: Tensor) -> Tensor:
    """L_T of each image, float64 (B,). x0: (B, C, H, W)."""
    end = schedule(torch.ones((), dtype=torch.float64, device=x0.device))
    signal, var = end.alpha * x0.double(), end.sigma**2
    return _bits(0.5 * (signal**2 + var - 1 - var.log()))


def step(
    schedule: Schedule,
    x0: Tensor,
    error: Tensor,
    t: Tensor,
    frac: Tensor | float,
    cdf: Callable[[Tensor], Tensor] = ndtr,
) -> Tensor:
    """L_t of each image at chain times t, L_0 at t = 1/T; (B,) in the dtype of `error`.

    x0, error = x̂0 − x0: (B, C, H, W); t: float64 (B, 1, 1, 1), i/T; frac: of the model's log-variance;
    cdf: of the decoder.
    """
    s = ((t * schedule.T).round() - 1) / schedule.T
    var = log_variance(schedule, s, t, frac)
    var = var.to(error.dtype)
    q = schedule.posterior(s, t)
    # at s = 0 there is no divergence to take, for q is a point
    true = torch.where(s == 0, var, q.var.clamp(min=1e-300).log().to(error.dtype))
    gap = true - var
    kl = 0.5 * (torch.expm1(gap) - gap + (q.c_0.to(error.dtype) * error) ** 2 * (-var).exp())
    nats = torch.where(s == 0, decoder(x0, x0 + error, var / 2, cdf), kl)
    return _bits(nats.expand_as(error))


def tanh_cdf(x: Tensor) -> Tensor:
    """An approximation of the normal distribution function, as in the code of Ho et al. 2020 (Page 1977)."""
    return 0.5 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def decoder(x0: Tensor, mean: Tensor, log_std: Tensor, cdf: Callable[[Tensor], Tensor] = ndtr) -> Tensor:
    """−log of the mass of N(mean, std²) in the bin of width 2/255 about x0; the end bins reach to infinity.

    Ho et al. 2020, eq. 13; cdf: the normal distribution function itself, or `tanh_cdf`.
    """
    scale = (-log_std).exp()
    above = cdf((x0 - mean + 1 / 255) * scale)
    below = cdf((x0 - mean - 1 / 255) * scale)
    # a mass far in the upper tail is a difference of numbers near 1: take it in the lower one
    top = cdf((mean - x0 + 1 / 255) * scale)
    inner = torch.where(x0 > mean, top - cdf((mean - x0 - 1 / 255) * scale), above - below)
    mass = torch.where(x0 < -0.999, above, torch.where(x0 > 0.999, top, inner))
    return -mass.clamp(min=_LEAST).log()


def _bits(nats: Tensor) -> Tensor:
    return nats.flatten(1).mean(1) / math.log(2)
