"""Times made for one model: the path whose DDIM steps stray least from its flow, by dynamic programming.

A fine solution gives x and x̂0 at M times. The step from the i-th to the j-th of them can be made without
another network call, and how far it ends from the j-th x is known. Sums of that over a path of K steps are
least for a path that Bellman's recursion finds (as Watson et al. 2021 do for the bound, and Chen et al. 2024,
"On the trajectory regularity", for the flow). An error at a noisy time is damped on the way to the image, for
data of standard deviation s by s/√(α² s² + σ²), as it is for a Gaussian.
"""

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

from diffexp.condition import Condition
from diffexp.diffusion.denoiser import Denoise, Prediction
from diffexp.diffusion.schedule import Schedule
from diffexp.samplers.table import ddim

STD = 0.5  # of pixels in [−1, 1], roughly


def fine(schedule: Schedule, points: int = 120) -> Tensor:
    """Decreasing times, float64 (points + 1,), evenly in √t, from 1 to 1/T, then 0."""
    first = 1 / schedule.T
    times = torch.linspace(1, first**0.5, points, dtype=torch.float64) ** 2
    return torch.cat([times, times.new_zeros(1)])


@torch.no_grad()
def local_errors(
    denoise: Denoise,
    schedule: Schedule,
    times: Tensor,
    x: Tensor,
    cond: Condition | None = None,
    on_step: Callable[[int], None] | None = None,
) -> Tensor:
    """[i, j]: how far a DDIM step from times[i] to times[j] ends from the flow, float64, infinite for j ≤ i.

    x: noise, (B, C, H, W), where the flow begins.
    """
    points, made = [x], list[Prediction]()
    for k, (t, s) in enumerate(pairwise(times), 1):
        p = denoise(points[-1], t, cond)
        made.append(p)
        # Heun's second half: the fine solution is to be much better than the steps it judges
        y = ddim(schedule(t), schedule(s))(points[-1], [p])
        if s > 0 and schedule(t).ratio < 200:
            q = denoise(y, s, cond)
            keep = schedule(s).alpha / schedule(t).alpha
            slope = (p.eps + q.eps) / 2
            y = float(keep) * points[-1] + float(schedule(s).sigma - schedule(t).sigma * keep) * slope
        points.append(y)
        if on_step is not None:
            on_step(k)
    out = torch.full((len(times), len(times)), torch.inf, dtype=torch.float64)
    levels, stacked = schedule(times), torch.stack(points)
    damped = STD / (levels.alpha**2 * STD**2 + levels.sigma**2).sqrt()
    shape = (-1, *[1] * x.ndim)
    for i, p in enumerate(made):
        keep = levels.sigma[i + 1 :] / levels.sigma[i]
        weight = levels.alpha[i + 1 :] - levels.alpha[i] * keep
        off = keep.view(shape).to(x) * points[i] + weight.view(shape).to(x) * p.x0 - stacked[i + 1 :]
        out[i, i + 1 :] = off.double().square().flatten(1).mean(1).sqrt().cpu() * damped[i + 1 :]
    return out


def shortest(errors: Tensor, steps: int) -> list[int]:
    """The indices of a path of that many steps from the first to the last, of the least sum of errors."""
    n = len(errors)
    best, back = torch.full((n,), torch.inf, dtype=torch.float64), list[Tensor]()
    best[0] = 0
    for _ in range(steps):
        best, where = (best[:, None] + errors).min(0)
        back.append(where)
    path = [n - 1]
    for where in reversed(back):
        path.append(int(where[path[-1]]))
    return path[::-1]


@torch.no_grad()
def second_moments(
    denoise: Denoise, schedule: Schedule, x0: Tensor, noise: Tensor, cond: Condition | None, points: int
) -> list[float]:
    """Γ = E|ε̂|²/d at t = i/points, i = 1 .. points: what Analytic-DPM's variance needs (ddpm.py)."""
    out = list[float]()
    for i in range(1, points + 1):
        t = torch.tensor(max(i / points, 1 / schedule.T), dtype=torch.float64)
        level = schedule(t)
        x = float(level.alpha) * x0 + float(level.sigma) * noise
        out.append(float(denoise(x, t, cond).eps.double().square().mean()))
    return out
