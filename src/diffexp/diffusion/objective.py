"""The training objective: at which times, towards which target, with which weight.

    loss = simple · E[w(t) |x̂0 − x0|²]  +  vlb · T E[L_t]  +  Σ scale · E[term(x̂0, x0)],

L_t being the term of the variational bound at t, in bits per dimension (bound.py); T E[L_t] is their sum, so
that neither T nor the batch changes its size. `vlb` = 0.001 with the mean held is L_hybrid of Nichol &
Dhariwal 2021. The first term is formed in the space of the network's output, as w c_out² |F − F*|², for
|x̂0 − x0|² formed in float32 or bfloat16 is not exact near t = 1. Unit weight on F is SNR, 1, SNR + 1 for
eps, x0, v.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from diffexp.condition import Condition
from diffexp.diffusion import bound
from diffexp.diffusion.denoiser import Denoiser
from diffexp.diffusion.prediction import target
from diffexp.diffusion.schedule import Level, like
from diffexp.diffusion.times import Importance, Times
from diffexp.diffusion.variance import Variance
from diffexp.diffusion.weighting import Uncertain, Weighting
from diffexp.errors import ConfigError
from diffexp.randomness import of_rank


class Term(Protocol):
    """A part of the loss that is added, times `scale`; images in [−1, 1], (B, C, H, W) -> (B,).

    One with an attribute `captioned` that is True is also called with level, that of x_t, of the shape of t,
    and texts, the caption of each image; data without captions are then refused.
    """

    scale: float

    def check(self) -> None:
        """Raise DiffexpError before training where something is missing."""
        ...

    def __call__(self, x0_hat: Tensor, x0: Tensor) -> Tensor: ...


class Losses(NamedTuple):
    """loss: 0-dim, with its gradient. Of each image, (B,), without: t; mse, |F − F*|² averaged over the
    image; log_snr; gradient, the norm of that of the weighted error with respect to F, over √D; frac, of a
    learned variance; vlb, L_t, for times on the chain; parts, what the loss is the sum of.
    """

    loss: Tensor
    t: Tensor
    mse: Tensor
    log_snr: Tensor
    gradient: Tensor
    frac: Tensor | None
    vlb: Tensor | None
    parts: dict[str, Tensor]

    @property
    def each(self) -> Tensor:
        """The loss of each image, (B,)."""
        return torch.stack(list(self.parts.values())).sum(0)


class Objective(nn.Module):
    """Weighted denoising loss at random times, the bound if wanted, and other terms. Raises ConfigError.

    With both, the bound trains the variance alone, as in the paper: the mean is held in it. What weighting
    and times learn is in the state of this module.
    """

    def __init__(
        self,
        weighting: Weighting,
        times: Times,
        simple: float = 1.0,
        vlb: float = 0.0,
        terms: Mapping[str, Term] | None = None,
    ) -> None:
        super().__init__()
        if min(simple, vlb) < 0 or max(simple, vlb) == 0:
            raise ConfigError(f"simple={simple}, vlb={vlb}", "objective", "give 0 or more, not both 0")
        if vlb and not times.on_chain:
            do = "use times=uniform, stratified or importance, or objective=simple"
            raise ConfigError("the bound is a sum over the steps of the chain", "times", do)
        self.weighting, self.times, self.simple, self.vlb = weighting, times, simple, vlb
        self.terms = dict(terms or {})
        for name, term in self.terms.items():
            if not callable(term):
                raise ConfigError(
                    f"{name}={term} is no term", f"terms.{name}", "type terms=lpips or terms=none"
                )

    def check(self, variance: Variance, pixels: bool = True) -> None:
        """Raise ConfigError for a variance that this objective would not train, or has not to train.

        pixels: whether x0 is an image of 8 bits in [−1, 1]: the bound and the terms are of such.
        """
        if not pixels and (self.vlb or self.terms):
            do = "use objective=simple terms=none, or codec=pixels"
            raise ConfigError("the bound and the terms are of pixels, not of latents", "objective", do)
        learned = variance.outputs > 1
        if learned and not self.vlb:
            do = "use objective=hybrid or vlb, or variance=fixed_small"
            raise ConfigError("objective=simple does not train a learned variance", "variance", do)
        if self.simple and self.vlb and not learned:
            do = "use variance=learned_range, or objective=simple"
            raise ConfigError("objective=hybrid has no variance to train", "objective", do)

    @property
    def captioned(self) -> bool:
        """True where a term wants captions."""
        return any(map(_captioned, self.terms.values()))

    def check_captions(self, texts: Sequence[str] | None) -> None:
        """Raise ConfigError for a term that wants captions where there are none."""
        for name, term in self.terms.items():
            if texts is None and _captioned(term):
                what = f"terms.{name} compares images with their captions, and the data has none"
                raise ConfigError(what, f"terms.{name}", "take data with captions, or type terms=none")

    def forward(
        self,
        denoiser: Denoiser,
        x0: Tensor,
        cond: Condition | None,
        generator: torch.Generator,
        rank: tuple[int, int] = (0, 1),
        scale: Tensor | None = None,
        texts: Sequence[str] | None = None,
        real: int | None = None,
    ) -> Losses:
        """x0: (B, C, H, W) in [−1, 1]; times and noise come from `generator`, on the device of x0.

        rank: (r, ranks). Each rank draws for all of them, and takes its part: as one that had all the images.
        scale: of the loss of each image, (B,). texts: the captions, for terms that want them. real: the
        images of all ranks, where others behind them fill the batch up.
        """
        n, count = len(x0), real or len(x0) * rank[1]
        t = of_rank(self.times(count, denoiser.schedule, generator), n, rank)
        shape = (count, *x0.shape[1:])
        noise = torch.randn(shape, generator=generator, device=x0.device, dtype=x0.dtype)
        noise = of_rank(noise, n, rank)
        weight = self.times.weight(t) if isinstance(self.times, Importance) else None
        if scale is not None:
            weight = scale if weight is None else weight * scale.to(weight)
        return self.at(denoiser, x0, cond, t, noise, weight, texts)

    def at(
        self,
        denoiser: Denoiser,
        x0: Tensor,
        cond: Condition | None,
        t: Tensor,
        noise: Tensor,
        weight: Tensor | None = None,
        texts: Sequence[str] | None = None,
    ) -> Losses:
        """The loss at given times t, float64 (B,), and noise, of the shape of x0; weight: of each image,
        (B,); texts: their captions, for terms that want them. Raises ConfigError where those are missing.
        """
        t = t.view(-1, *[1] * (x0.ndim - 1))
        level = denoiser.schedule(t)
        c = denoiser.prediction(level)
        a, b = target(c, level)
        x_t = like(level.alpha, x0) * x0 + like(level.sigma, x0) * noise
        out, frac = denoiser.output(x_t, t, cond)
        error = out - (like(a, x0) * x0 + like(b, x0) * noise)  # F − F*
        mse = error.square().flatten(1).mean(1)
        c_out = torch.as_tensor(c.c_out, dtype=torch.float64, device=x0.device).expand_as(t)
        on_output = (self.weighting(level, c_out) * c_out**2).flatten().to(x0.dtype)
        error = like(c_out, x0) * error  # x̂0 − x0
        bits = self._bits(denoiser, x0, error, t, frac)
        parts = self._parts(denoiser.schedule.T, x0, error, level, on_output * mse, bits)
        parts |= self._of_terms(x0 + error, x0, level, texts) if self.terms else {}
        each = torch.stack(list(parts.values())).sum(0)
        return Losses(
            loss=(each if weight is None else weight.to(each.dtype) * each).mean(),
            t=t.flatten(),
            mse=mse.detach(),
            log_snr=level.snr.log().flatten(),
            gradient=2 * self.simple * on_output * mse.detach().sqrt(),
            frac=frac.detach().flatten(1).mean(1) if isinstance(frac, Tensor) else None,
            vlb=None if bits is None else bits.detach(),
            parts={name: part.detach() for name, part in parts.items()},
        )

    def _parts(
        self, T: int, x0: Tensor, error: Tensor, level: Level, weighted: Tensor, bits: Tensor | None
    ) -> dict[str, Tensor]:
        """Return the summands of the loss of each image, (B,), by name."""
        parts = dict[str, Tensor]()
        if self.simple:
            parts["simple"] = self.simple * weighted
            if isinstance(self.weighting, Uncertain):
                u = self.weighting.penalty(level)
                parts["simple"] = parts["simple"] * (-u).exp() + u
        if self.vlb and bits is not None:
            parts["vlb"] = self.vlb * T * bits
        return parts

    def _of_terms(
        self, x0_hat: Tensor, x0: Tensor, level: Level, texts: Sequence[str] | None
    ) -> dict[str, Tensor]:
        self.check_captions(texts)
        parts = dict[str, Tensor]()
        for name, term in self.terms.items():
            more: dict[str, Any] = {"level": level, "texts": texts} if _captioned(term) else {}
            parts[name] = term.scale * term(x0_hat, x0, **more)
        return parts

    def _bits(
        self, denoiser: Denoiser, x0: Tensor, error: Tensor, t: Tensor, frac: Tensor | float
    ) -> Tensor | None:
        """L_t of each image; with a gradient where the bound is an objective."""
        if not self.times.on_chain:
            return None
        with torch.set_grad_enabled(self.vlb > 0 and torch.is_grad_enabled()):
            held = error.detach() if self.simple or not self.vlb else error
            return bound.step(denoiser.schedule, x0, held, t, frac)


def _captioned(term: Term) -> bool:
    return bool(getattr(term, "captioned", False))
