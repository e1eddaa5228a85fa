"""The density of an image under the probability-flow ODE. Song et al. 2021 (score SDE), section 4.3.

In the angle φ the flow of a variance-preserving schedule is the velocity, dx/dφ = v̂ = α ε̂ − σ x̂0, and

    log p(x_0) = log N(x_1; 0, 1) + ∫ div v̂ dφ,    φ from that of `start` to φ(1),

solved by Runge and Kutta's method of order 5 with adaptive steps (scipy's RK45), x and log p together. The
divergence is the trace of a Jacobian: exact, by one derivative a dimension, or an estimate by probes z of
random signs, E zᵀ(∂v̂/∂x) z (Hutchinson).
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from diffexp.condition import Condition
from diffexp.diffusion.denoiser import Denoise
from diffexp.diffusion.schedule import Schedule


class Density(NamedTuple):
    """log_p: nats, float64 (B,); calls: of the denoiser."""

    log_p: Tensor
    calls: int


def dequantised(x0: Tensor, u: Tensor) -> Tensor:
    """8-bit values in [−1, 1] spread evenly over bins of width 2/256; u: uniform in [0, 1)."""
    return ((x0 + 1) * 127.5 + u) / 128 - 1


def density_bits_per_dim(log_p: Tensor, dimensions: int) -> Tensor:
    """Return the bits per dimension of the 8-bit values, (B,), by the density of what `dequantised` gives.

    7 bits are log2 of a bin of 2/256.
    """
    return -log_p / (dimensions * math.log(2)) + 7


def log_density(
    denoise: Denoise,
    schedule: Schedule,
    x: Tensor,
    cond: Condition | None = None,
    probes: Tensor | None = None,
    rtol: float = 1e-5,
    atol: float = 1e-5,
    start: float = 1e-5,
    on_step: Callable[[float], None] | None = None,
) -> Density:
    """log p of x, (B, C, H, W), as data at time `start`.

    probes: (K, B, C, H, W) of ±1; None for the exact trace, at a derivative for each dimension. on_step: told
    which share of the way is done.
    """
    from scipy.integrate import solve_ivp  # pyright: ignore[reportMissingTypeStubs, reportUnknownVariableType]

    count, dims, calls = len(x), x[0].numel(), 0
    ends = [float(a) for a in schedule.angle(torch.tensor([start, 1.0], dtype=torch.float64))]

    def slope(angle: float, state: Any) -> Any:
        nonlocal calls
        calls += 1
        here = torch.as_tensor(state[: count * dims]).to(x.device, x.dtype).view_as(x)
        t = schedule.time(torch.tensor(angle, dtype=torch.float64))
        v, divergence = _velocity(denoise, schedule, here, t, cond, probes)
        if on_step is not None:
            on_step((angle - ends[0]) / (ends[1] - ends[0]))
        return torch.cat([v.flatten().double(), divergence.double()]).cpu().numpy()

    first = torch.cat([x.flatten().double().cpu(), torch.zeros(count, dtype=torch.float64)]).numpy()
    solution = cast(Any, solve_ivp(slope, ends, first, method="RK45", rtol=rtol, atol=atol))
    if not solution.success:
        raise FloatingPointError(f"the flow could not be solved: {solution.message}")
    end = torch.as_tensor(solution.y[:, -1])
    noise, gathered = end[: count * dims].view(count, dims), end[count * dims :]
    prior = -0.5 * (noise.square() + math.log(2 * math.pi)).sum(1)
    return Density(prior + gathered, calls)


def _velocity(
    denoise: Denoise,
    schedule: Schedule,
    x: Tensor,
    t: Tensor,
    cond: Condition | None,
    probes: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """v̂, of the shape of x, and its divergence, (B,)."""
    alpha, sigma = schedule(t)
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        p = denoise(x, t, cond)
        v = float(alpha) * p.eps - float(sigma) * p.x0
        found = torch.zeros(len(x), dtype=x.dtype, device=x.device)
        if probes is None:
            flat = v.flatten(1)
            for d in range(flat.shape[1]):
                (g,) = torch.autograd.grad(flat[:, d].sum(), x, retain_graph=True)
                found += g.flatten(1)[:, d]
        else:
            for z in probes:
                (g,) = torch.autograd.grad((v * z).sum(), x, retain_graph=True)
                found += (g * z).flatten(1).sum(1) / len(probes)
    return v.detach(), found
