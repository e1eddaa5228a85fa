"""The noise of an SDE as one Brownian path, which every grid of times looks at in its own places.

What a step t → s of DPM-Solver++'s SDE adds, in units of σ_s e^(−ηλ_s), is B(c_s) − B(c_t) of a Brownian
motion B at the clock c = e^(2ηλ) = (α/σ)^(2η); at η = 1 that is the SNR. B at any time follows from its
values at the ends of [0, 1] by halving: given both ends of a piece, its middle is normal (Lévy),

    B(m) ~ N(B(a) + f (B(b) − B(a)), f (1 − f) (c_b − c_a)),    f = (c_m − c_a)/(c_b − c_a),

drawn from the noise whose number is that of the piece. So the path is a function of the seed alone, and more
steps follow the same path more closely.
"""

import torch
from torch import Tensor

from diffexp.diffusion.schedule import Schedule
from diffexp.randomness import Draws

_DEPTH = 20  # of halvings: times are told apart to 2⁻²⁰, a thousandth of a step of the chain


class Brownian:
    """path(t, s) is unit noise for the step t → s < t; independent for steps that do not overlap.

    noise: of `run`; its negative numbers are the pieces'. About 20 draws a step, fewer for small steps.
    """

    def __init__(self, schedule: Schedule, noise: Draws, eta: float) -> None:
        self.schedule, self.noise, self.eta = schedule, noise, eta
        self._kept: dict[int, Tensor] = {}  # B, by time in units of 2⁻²⁰; those on the way to the last time

    def _clock(self, i: int) -> Tensor:
        level = self.schedule(torch.tensor(i / 2**_DEPTH, dtype=torch.float64))
        return (level.alpha / level.sigma) ** (2 * self.eta)

    def __call__(self, t: Tensor, s: Tensor) -> Tensor:
        i, j = (round(float(u) * 2**_DEPTH) for u in (t, s))
        return (self._at(j) - self._at(i)) / float((self._clock(j) - self._clock(i)).sqrt())

    def _at(self, i: int) -> Tensor:
        """B at a time in units of 2⁻²⁰; 0 at t = 1."""
        start, end = 2**_DEPTH, 1  # the clock rises as t falls
        old, self._kept = self._kept, {}
        low = self._kept[start] = old.get(start, torch.zeros(()))
        scale = float((self._clock(end) - self._clock(start)).sqrt())
        high = self._kept[end] = old[end] if end in old else low + scale * self.noise(-1)
        number = 1
        while i not in (start, end):
            middle = (start + end) // 2
            if middle in old:
                value = old[middle]
            else:
                a, m, b = (float(self._clock(u)) for u in (start, middle, end))
                f = (m - a) / (b - a)
                value = torch.lerp(low.to(high), high, f)
                value = value + (f * (b - m)) ** 0.5 * self.noise(-2 * number)
            self._kept[middle] = value
            number = 2 * number + (i < middle)
            start, low, end, high = (middle, value, end, high) if i < middle else (start, low, middle, value)
        return low if i == start else high
