"""The denoiser: network + schedule + prediction + variance.

    denoise(x, t, cond) -> Prediction: x0, eps, frac,   always with x = α x0 + σ eps,

is all that samplers, guidance and clipping see of it.
"""

from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor, nn

from diffexp.diffusion.prediction import Parameterization
from diffexp.diffusion.schedule import Level, Schedule, like
from diffexp.diffusion.variance import Variance
from diffexp.errors import ConfigError


class Prediction:
    """x0, predicted from x at a level; frac in [−1, 1] places log var between its bounds (variance.py)."""

    def __init__(self, x0: Tensor, x: Tensor, level: Level, frac: Tensor | float = -1.0) -> None:
        self.x0, self.x, self.level, self.frac = x0, x, level, frac

    @cached_property
    def eps(self) -> Tensor:
        """The ε with which x = α x0 + σ ε; of the shape of x. Worked out when it is asked for."""
        alpha, sigma = self.level
        if alpha.ndim == 0:
            return torch.add(self.x, self.x0, alpha=-float(alpha)).mul_(1 / float(sigma))
        return (self.x - like(alpha, self.x) * self.x0) / like(sigma, self.x)


class Denoise(Protocol):
    """x: (B, C, H, W); t: float64, 0-dim or (B, 1, 1, 1), in (0, 1]; cond: int64 (B,) or None."""

    def __call__(self, x: Tensor, t: Tensor, cond: Tensor | None = None) -> Prediction: ...


class Denoiser(nn.Module):
    """Turns the output of a network into a Prediction.

    network: (c_in x, t float32 (B,), cond) -> (B, outputs·C, H, W). `autocast` (bfloat16 or float16) holds
    inside the network only. Raises ConfigError when x0 cannot be recovered from the prediction at t = 1.
    """

    def __init__(
        self,
        network: nn.Module,
        schedule: Schedule,
        prediction: Parameterization,
        variance: Variance,
        autocast: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_coupling(schedule, prediction)
        self.network, self.schedule, self.prediction, self.variance = network, schedule, prediction, variance
        self.autocast = autocast

    def output(self, x: Tensor, t: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor | float]:
        """F(c_in x, t), (B, C, H, W), and frac: what the objective needs."""
        c_in = like(self.prediction(self.schedule(t)).c_in, x)
        times = t.reshape(-1).expand(len(x)).to(x.device, torch.float32)
        with torch.autocast(x.device.type, self.autocast, enabled=self.autocast is not None):
            out = self.network(c_in * x, times, cond)
        return self.variance.split(out.to(x.dtype))

    def forward(self, x: Tensor, t: Tensor, cond: Tensor | None = None) -> Prediction:
        level = self.schedule(t)
        c = self.prediction(level)
        out, frac = self.output(x, t, cond)
        x0 = like(c.c_skip, x) * x + like(c.c_out, x) * out
        return Prediction(x0, x, level, frac)


def check_coupling(schedule: Schedule, prediction: Parameterization) -> None:
    """Raises ConfigError for eps-prediction at zero terminal SNR, where x0 = (x − σ ε)/α is 0/0."""
    c = prediction(schedule(torch.ones((), dtype=torch.float64)))
    if not all(torch.isfinite(torch.as_tensor(x)).all() for x in c):
        raise ConfigError(
            "eps-prediction cannot recover x0 at zero terminal SNR",
            "prediction with snr.zero_terminal=true",
            "use prediction=v, x0 or edm, or snr.zero_terminal=false",
        )
