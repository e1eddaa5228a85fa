"""Adams methods with exact coefficients: the prediction as a polynomial, its integral without error.

    held x0:  x_s/σ_s = x_t/σ_t + ∫ e^λ x0(λ) dλ,       λ = log α/σ,
    held ε:   x_s/α_s = x_t/α_t + ∫ ε(ρ) dρ,            ρ = σ/α.

The last `order` predictions define a polynomial in λ, log ρ = −λ, ρ or t; over the step it is integrated
against the weight above. Named methods are choices of these: `lms` is ε in ρ (Crowson, k-diffusion), `deis`
ε in t (tAB), in ρ (ρAB) or in λ (log ρ) (Zhang & Chen 2023), `adams` x0 in λ, of which order 2 is
DPM-Solver++(2M) with exact weights. With `corrector`, each step is mended as in UniC (tabled.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor

from diffexp.diffusion.schedule import Schedule
from diffexp.errors import ConfigError
from diffexp.samplers.grid import GridTimes
from diffexp.samplers.table import Multistep, Row, ddim, has_signal
from diffexp.untyped import eigh

_NODES = 32  # of the quadrature: exact to rounding for steps of λ up to about 20


@lru_cache(maxsize=1)
def _gauss() -> tuple[Tensor, Tensor]:
    """Nodes and weights of Gauss and Legendre on [0, 1] (Golub & Welsch 1969)."""
    i = torch.arange(1, _NODES, dtype=torch.float64)
    off = i / (4 * i**2 - 1).sqrt()
    nodes, vectors = eigh(torch.diag(off, 1) + torch.diag(off, -1))
    return (nodes + 1) / 2, vectors[0] ** 2


@dataclass(frozen=True, kw_only=True)
class Adams(Multistep):
    """`order` is that of the method, 1 to 4; with `corrector` it is one more.

    hold: the quantity that is a polynomial; of: its variable. Steps to the end, where λ is infinite, and from
    above σ/α = 200 are those of DDIM.
    """

    spacing: GridTimes = "logsnr"
    hold: Literal["x0", "eps"] = "x0"
    of: Literal["lam", "ratio", "t"] = "lam"
    corrector: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.order <= 4:
            raise ConfigError(f"order={self.order}", "sampler.order", "give 1, 2, 3 or 4")

    def row(self, schedule: Schedule, known: Sequence[Tensor], s: Tensor) -> Row:
        return self._row(schedule, known[0], s, known)

    def mend(self, schedule: Schedule, known: Sequence[Tensor], s: Tensor) -> Row | None:
        if not self.corrector or not has_signal(schedule(known[0])):
            return None
        return self._row(schedule, known[0], s, [s, *known])

    def _row(self, schedule: Schedule, t: Tensor, s: Tensor, nodes: Sequence[Tensor]) -> Row:
        at, to = schedule(t), schedule(s)
        if not has_signal(at) or (s == 0 and self._endless()):
            return ddim(at, to)
        points, mass = self._integral(schedule, t, s)
        values = torch.stack([self._variable(schedule, u) for u in nodes if has_signal(schedule(u))])
        keep = to.sigma / at.sigma if self.hold == "x0" else to.alpha / at.alpha
        return Row(float(keep), tuple(_lagrange(values, points, mass)), self.hold)

    def _endless(self) -> bool:
        """Return whether the variable, or the weight, is infinite at the end."""
        return self.of == "lam" or self.hold == "x0"

    def _variable(self, schedule: Schedule, t: Tensor) -> Tensor:
        if self.of == "t":
            return t
        return schedule(t).lam if self.of == "lam" else schedule(t).ratio

    def _integral(self, schedule: Schedule, t: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
        """Values of the variable over the step, and the weight of each, in x_s."""
        to, (v, w), x0 = schedule(s), _gauss(), self.hold == "x0"
        if self.of == "t":
            # of t the schedule has corners: take its change over the pieces of the quadrature
            ratio = schedule(torch.lerp(t, s, torch.cat([v.new_zeros(1), w.cumsum(0)]))).ratio
            return torch.lerp(t, s, v), (1 / ratio).diff() * to.sigma if x0 else ratio.diff() * to.alpha
        a, b = self._variable(schedule, t), self._variable(schedule, s)
        u = torch.lerp(a, b, v)
        if self.of == "lam":
            weight = (u - b).exp() * to.alpha if x0 else -(b - u).exp() * to.sigma
        else:
            weight = -to.sigma / u**2 if x0 else to.alpha
        return u, weight * w * (b - a)


def _lagrange(nodes: Tensor, points: Tensor, mass: Tensor) -> list[float]:
    """The integrals, by points and their mass, of the polynomials that are 1 at one node, 0 at the others."""
    out = list[float]()
    for i, node in enumerate(nodes):
        others = torch.cat([nodes[:i], nodes[i + 1 :]])
        basis = ((points[:, None] - others) / (node - others)).prod(1)
        out.append(float((basis * mass).sum()))
    return out
