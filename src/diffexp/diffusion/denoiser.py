"""The denoiser: network + schedule + prediction + variance.

    denoise(x, t, cond) -> Prediction: x0, eps, frac,   always with x = α x0 + σ eps,

is all that samplers, guidance and clipping see of it.
"""

from functools import cached_property
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from diffexp.condition import Condition
from diffexp.diffusion.prediction import Eps, Parameterization, c_noise
from diffexp.diffusion.schedule import Level, Schedule, like
from diffexp.diffusion.variance import Variance
from diffexp.errors import ConfigError

Precision = Literal["fp32", "bf16", "fp16"]


class Prediction:
    """A prediction of x0 or ε from x at a level; the other is worked out when it is asked for, so that
    x = α x0 + σ ε. frac in [−1, 1] places log var between its bounds (variance.py).
    """

    def __init__(
        self,
        x0: Tensor | None,
        x: Tensor,
        level: Level,
        frac: Tensor | float = -1.0,
        eps: Tensor | None = None,
    ) -> None:
        self._x0, self.x, self.level, self.frac, self._eps = x0, x, level, frac, eps

    @cached_property
    def x0(self) -> Tensor:
        """The clean image, of the shape of x."""
        if self._x0 is not None:
            return self._x0
        assert self._eps is not None
        return self._without(self._eps, self.level.sigma, self.level.alpha)

    @cached_property
    def eps(self) -> Tensor:
        """The noise, of the shape of x."""
        return self._eps if self._eps is not None else self._without(self.x0, *self.level)

    def _without(self, part: Tensor, scale: Tensor, left: Tensor) -> Tensor:
        """(x − scale part)/left."""
        if scale.ndim == 0:
            return torch.add(self.x, part, alpha=-float(scale)).mul_(1 / float(left))
        return (self.x - like(scale, self.x) * part) / like(left, self.x)


class Denoise(Protocol):
    """x: (B, C, H, W); t: float64, 0-dim or (B, 1, 1, 1), in (0, 1]; cond: what the network is
    told beside, or None."""

    def __call__(self, x: Tensor, t: Tensor, cond: Condition | None = None) -> Prediction: ...


class Denoiser(nn.Module):
    """Turns the output of a network into a Prediction.

    network: (c_in x, c_noise float32 (B,), cond) -> (B, outputs·C, H, W). `autocast` (bfloat16 or float16)
    holds inside the network only. Raises ConfigError when x0 cannot be recovered from the prediction at
    t = 1.
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

    def output(self, x: Tensor, t: Tensor, cond: Condition | None = None) -> tuple[Tensor, Tensor | float]:
        """F(c_in x, c_noise), (B, C, H, W), and frac: what the objective needs."""
        c_in = like(self.prediction(self.schedule(t)).c_in, x)
        noise = c_noise(self.prediction, t, self.schedule)
        if noise.ndim == 0 and noise.device.type == "cpu":  # a copy from there would have a GPU wait
            times = torch.full((len(x),), float(noise), device=x.device)
        else:
            times = noise.reshape(-1).expand(len(x)).to(x.device, torch.float32)
        x_in = x if isinstance(c_in, float) and c_in == 1.0 else c_in * x
        with torch.autocast(x.device.type, self.autocast, enabled=self.autocast is not None):
            out = self.network(x_in, times, cond)
        wanted = (len(x), self.variance.outputs * x.shape[1], *x.shape[2:])
        if out.shape != wanted:  # a loss would broadcast it without a word
            what = f"the network gives {tuple(out.shape)} for images of {tuple(x.shape)}, not {wanted}"
            raise ConfigError(what, "network", "let it return (B, out_channels, H, W)")
        return self.variance.split(out.to(x.dtype), self.schedule, t)

    def forward(self, x: Tensor, t: Tensor, cond: Condition | None = None) -> Prediction:
        level = self.schedule(t)
        out, frac = self.output(x, t, cond)
        if isinstance(self.prediction, Eps):
            return Prediction(None, x, level, frac, eps=out)
        c = self.prediction(level)
        if level.alpha.ndim:
            return Prediction(like(c.c_skip, x) * x + like(c.c_out, x) * out, x, level, frac)
        return Prediction(torch.mul(x, float(c.c_skip)).add(out, alpha=float(c.c_out)), x, level, frac)


def check_coupling(schedule: Schedule, prediction: Parameterization) -> None:
    """Raises ConfigError for eps-prediction at zero terminal SNR, where x0 = (x − σ ε)/α is 0/0."""
    c = prediction(schedule(torch.ones((), dtype=torch.float64)))
    if not all(torch.isfinite(torch.as_tensor(x)).all() for x in c):
        raise ConfigError(
            "eps-prediction cannot recover x0 at zero terminal SNR",
            "prediction with snr.zero_terminal=true or schedule=flow",
            "use prediction=v, x0, edm or flow, or snr.zero_terminal=false and another schedule",
        )
