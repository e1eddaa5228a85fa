"""Noise schedules. A variance-preserving schedule is one increasing angle φ(t), t in [0, 1]:

    x_t = α_t x0 + σ_t ε,    α_t = cos φ(t),    σ_t = sin φ(t),

so ᾱ = cos² φ, σ/α = tan φ, log SNR = −2 log tan φ, and v = dx/dφ. φ is finite at both ends: φ = 0 is
clean data, φ = π/2 is zero terminal SNR. The T-step chain of DDPM is the table φ(i/T), i = 0..T (so the
0-based index i of the papers' code is t = (i + 1)/T); between its points φ is linear.
Everything here is float64.
"""

import math
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from diffexp.errors import ConfigError

LONGEST = 1_000_000  # steps of a chain: its tables are kept in float64


class Level(NamedTuple):
    """Signal and noise scales of x_t; both have the shape of t, in float64."""

    alpha: Tensor
    sigma: Tensor

    @property
    def ratio(self) -> Tensor:
        """σ/α, the "sigma" of EDM and k-diffusion."""
        return self.sigma / self.alpha

    @property
    def snr(self) -> Tensor:
        """(α/σ)², the signal-to-noise ratio."""
        return (self.alpha / self.sigma) ** 2

    @property
    def lam(self) -> Tensor:
        """log α/σ, half the log-SNR, the λ of DPM-Solver."""
        return (self.alpha / self.sigma).log()


class Posterior(NamedTuple):
    """q(x_s | x_t, x0) = N(c_x x_t + c_0 x0, var). `beta` is Var(x_t | x_s), the upper bound of var."""

    c_x: Tensor
    c_0: Tensor
    var: Tensor
    beta: Tensor


def like(c: Tensor | float, x: Tensor) -> Tensor | float:
    """A float64 coefficient made ready to combine with x, without promoting x to float64."""
    return c.to(x.dtype) if isinstance(c, Tensor) and c.ndim else c


@dataclass(frozen=True, eq=False)
class Schedule:
    """The table of angles φ(i/T), float64, shape (T + 1,), from 0 to at most π/2.

    Raises ConfigError when the angles do not rise strictly, start away from 0 or pass π/2.
    """

    angles: Tensor
    _on: dict[torch.device, Tensor] = field(default_factory=dict, init=False, repr=False)
    _kept: dict[float, Level] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        a = self.angles
        if a.dtype != torch.float64 or a[0] != 0 or not (a.diff() > 0).all() or a[-1] > math.pi / 2:
            what = "noise does not rise at every step of the schedule"
            raise ConfigError(what, "schedule", "see that schedule.start and schedule.end are not extreme")

    @classmethod
    def from_alpha_bar(cls, alpha_bar: Tensor) -> "Schedule":
        """alpha_bar at t = 1/T .. 1, shape (T,)."""
        bar = torch.cat([torch.ones(1, dtype=torch.float64), alpha_bar.double()])
        return cls(torch.atan2((1 - bar).sqrt(), bar.sqrt()))

    @property
    def T(self) -> int:
        return len(self.angles) - 1

    @property
    def zero_terminal(self) -> bool:
        """Return whether x_1 is pure noise, without any signal."""
        return bool(self.angles[-1] == math.pi / 2)

    def angle(self, t: Tensor) -> Tensor:
        """φ(t), float64 of the shape of t."""
        table = self._table(t.device)
        x = t.double() * self.T
        i = x.floor().long().clamp(0, self.T - 1)
        return torch.lerp(table[i], table[i + 1], x - i)

    def time(self, angle: Tensor) -> Tensor:
        """Inverse of `angle`: t in [0, 1], float64 of the shape of `angle`."""
        table = self._table(angle.device)
        i = (torch.searchsorted(table, angle.double().contiguous(), right=True) - 1).clamp(0, self.T - 1)
        return (i + (angle - table[i]) / (table[i + 1] - table[i])) / self.T

    def __call__(self, t: Tensor) -> Level:
        """Return α and σ at the times t in [0, 1]."""
        if t.ndim == 0 and t.device.type == "cpu":  # a sampler asks for the same few, again and again
            return self._level(float(t))
        return self._at(t)

    def _at(self, t: Tensor) -> Level:
        phi = self.angle(t)
        return Level(torch.sin(math.pi / 2 - phi), torch.sin(phi))  # exactly 0 at both ends

    def _level(self, t: float) -> Level:
        if t not in self._kept:
            if len(self._kept) > 10_000:
                self._kept.clear()
            self._kept[t] = self._at(torch.tensor(t, dtype=torch.float64))
        return self._kept[t]

    def step_to(self, level: Level) -> tuple[Tensor, Tensor]:
        """(s, t) of the step of the chain that begins at that level: t its time, s = t − 1/T, at least 0."""
        t = self.time(torch.atan2(level.sigma, level.alpha))
        s = t - 1 / self.T
        return torch.where(s > 1e-9, s, torch.zeros_like(s)), t

    def posterior(self, s: Tensor, t: Tensor) -> Posterior:
        """q(x_s | x_t, x0) for any s < t: respacing, DDIM's η and the bound need nothing more."""
        ps, pt = self.angle(s), self.angle(t)
        a_s, a_t = torch.sin(math.pi / 2 - ps), torch.sin(math.pi / 2 - pt)
        beta = torch.sin(pt - ps) * torch.sin(pt + ps) / a_s**2
        keep = (torch.sin(ps) / torch.sin(pt)) ** 2
        return Posterior(a_t / a_s * keep, a_s * beta / torch.sin(pt) ** 2, beta * keep, beta)

    def _table(self, device: torch.device) -> Tensor:
        if device not in self._on:
            self._on[device] = self.angles.to(device)
        return self._on[device]


def _steps(T: int) -> None:
    if T < 2:
        raise ConfigError(f"T={T} is too short a chain", "schedule.T", "give at least 2, e.g. 1000")
    if T > LONGEST:
        raise ConfigError(f"T={T} is too long a chain", "schedule.T", f"give at most {LONGEST:,}, e.g. 1000")


def _from_betas(beta: Tensor) -> Schedule:
    if not (beta > 0).all():
        raise ConfigError(f"beta={beta.min():.3g} is no variance", "schedule", "give positive start and end")
    if not (beta < 1).all():
        least = int(len(beta) * beta.max() + 1e-9) + 1  # beta goes as 1/T
        do = f"raise schedule.T to {least} or more, or lower schedule.end"
        raise ConfigError(f"beta={beta.max():.3g} (scaled by 1000/T) is not below 1", "schedule", do)
    return Schedule.from_alpha_bar((1 - beta).cumprod(0))


def _from_signal(f: Tensor, max_beta: float) -> Schedule:
    """Return the schedule of γ(i/T) = ᾱ up to a factor, shape (T + 1,), each β at most max_beta."""
    return Schedule.from_alpha_bar((f[1:] / f[:-1]).clamp(min=1 - max_beta).cumprod(0))


def linear(T: int = 1000, start: float = 1e-4, end: float = 0.02) -> Schedule:
    """β linear. Ho et al. 2020; scaled by 1000/T, so that any T ends alike (Nichol & Dhariwal 2021)."""
    _steps(T)
    return _from_betas(torch.linspace(start * 1000 / T, end * 1000 / T, T, dtype=torch.float64))


def scaled_linear(T: int = 1000, start: float = 0.00085, end: float = 0.012) -> Schedule:
    """√β linear, with the constants of Stable Diffusion (Rombach et al. 2022); scaled by 1000/T."""
    _steps(T)
    if min(start, end) <= 0:
        raise ConfigError(f"start={start}, end={end}", "schedule", "give positive start and end")
    k = 1000 / T
    return _from_betas(torch.linspace((start * k) ** 0.5, (end * k) ** 0.5, T, dtype=torch.float64) ** 2)


def quad(T: int = 1000, start: float = 1e-4, end: float = 0.02) -> Schedule:
    """√β linear, with DDPM's constants (Ho et al. 2020, code); scaled by 1000/T."""
    return scaled_linear(T, start, end)


def cosine(T: int = 1000, s: float = 0.008, max_beta: float = 0.999) -> Schedule:
    """ᾱ a squared cosine. Nichol & Dhariwal 2021, eq. 17."""
    _steps(T)
    if s < 0 or not 0 < max_beta <= 1:
        raise ConfigError(f"s={s}, max_beta={max_beta}", "schedule", "give s >= 0 and max_beta in (0, 1]")
    u = torch.arange(T + 1, dtype=torch.float64) / T
    return _from_signal(torch.cos((u + s) / (1 + s) * math.pi / 2) ** 2, max_beta)


def sigmoid(T: int = 1000, start: float = -3.0, end: float = 3.0, tau: float = 1.0) -> Schedule:
    """γ = ᾱ a sigmoid of time. Jabri et al. 2022; Chen 2023 (who call it γ)."""
    _steps(T)
    if not start < end or tau <= 0:
        raise ConfigError(f"start={start}, end={end}, tau={tau}", "schedule", "give start < end and tau > 0")
    u = torch.linspace(0, 1, T + 1, dtype=torch.float64)
    gamma = torch.sigmoid((u * (end - start) + start) / tau)
    return _from_signal((gamma[-1] - gamma) / (gamma[-1] - gamma[0]), 0.999)


def sigmoid_beta(T: int = 1000, start: float = 1e-4, end: float = 0.02) -> Schedule:
    """β a sigmoid of time over [−6, 6]. Song et al. 2021 (DDIM, code); scaled by 1000/T."""
    _steps(T)
    k = 1000 / T
    u = torch.sigmoid(torch.linspace(-6, 6, T, dtype=torch.float64))
    return _from_betas(u * (end - start) * k + start * k)


def flow(T: int = 1000) -> Schedule:
    """σ/α = t/(1 − t): the straight path (1 − t) x0 + t ε, at unit variance. Ends without any signal.

    Lipman et al. 2023, Liu et al. 2023. A shift of the SNR by s is the t' = s t/(1 + (s − 1) t) of Esser
    et al. 2024, eq. 23.
    """
    _steps(T)
    t = torch.arange(T + 1, dtype=torch.float64) / T
    return Schedule(torch.atan2(t, 1 - t))


def shifted(base: Schedule, shift: float) -> Schedule:
    """σ/α times `shift` at every t, e.g. size/64. Hoogeboom et al. 2023, eq. 6 (simple diffusion)."""
    if not shift > 0:
        raise ConfigError(f"shift={shift}", "snr.shift", "give a positive number, e.g. image size / 64")
    a = base.angles
    return Schedule(torch.atan2(shift * torch.sin(a), torch.sin(math.pi / 2 - a)))


def zero_terminal_snr(base: Schedule) -> Schedule:
    """√ᾱ shifted and scaled to end at 0, its first value kept. Lin et al. 2024, algorithm 1."""
    alpha = torch.sin(math.pi / 2 - base.angles)[1:]
    alpha = (alpha - alpha[-1]) * alpha[0] / (alpha[0] - alpha[-1])
    return Schedule.from_alpha_bar(alpha**2)


def with_snr(schedule: Schedule, shift: float = 1.0, zero_terminal: bool = False) -> Schedule:
    """Any schedule with its SNR shifted for the resolution, then brought to zero at the end."""
    if shift != 1:
        schedule = shifted(schedule, shift)
    return zero_terminal_snr(schedule) if zero_terminal and not schedule.zero_terminal else schedule
