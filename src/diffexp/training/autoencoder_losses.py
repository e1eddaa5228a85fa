"""The loss of an autoencoder, a sum of terms, each of an image; all are sums over the image, as in LDM.

    nll   = D s + exp(−s) (Σ ρ(x̂ − x) + D Σ scale · term(x̂, x)),   s learned, or 0; D numbers of an image
    loss  = nll + kl · KL(q(z|x) ‖ N(0, 1))      (nats; networks/moments.py)
    ρ(r)  = |r|  (l1),   r²  (l2),   r²/2d² + log d + ½ log 2π  (gaussian, of deviation d)

With reconstruction=gaussian and kl=1 it is the negative of the ELBO. The adversarial term is apart
(autoencoder_adversarial.py).
"""

import math
from collections.abc import Mapping
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from diffexp.diffusion.objective import Term
from diffexp.errors import ConfigError
from diffexp.networks.moments import kl as divergence

Kind = Literal["l1", "l2", "gaussian"]


class Losses(NamedTuple):
    """nll, kl: of each image, (B,), with gradients, kl in nats; weight: of the kl; parts: the summands of the
    loss by name, (B,), without.
    """

    nll: Tensor
    kl: Tensor
    weight: float
    parts: dict[str, Tensor]

    @property
    def each(self) -> Tensor:
        """The loss of each image, (B,), with its gradient."""
        return self.nll + self.weight * self.kl


class AutoencoderLoss(nn.Module):
    """The loss above. Raises ConfigError for options that make none."""

    def __init__(
        self,
        reconstruction: Kind = "l1",
        kl: float = 1e-6,
        deviation: float = 0.1,
        learned_logvar: bool = False,
        terms: Mapping[str, Term] | None = None,
    ) -> None:
        super().__init__()
        if reconstruction not in ("l1", "l2", "gaussian") or kl < 0 or deviation <= 0:
            what = f"reconstruction={reconstruction}, kl={kl}, deviation={deviation}"
            do = "give l1, l2 or gaussian, a weight of 0 or more, a positive deviation"
            raise ConfigError(what, "autoencoder", do)
        if learned_logvar and reconstruction == "gaussian":
            do = "take reconstruction=l1 or l2 with it"
            raise ConfigError("the gaussian has a fixed deviation", "autoencoder.learned_logvar", do)
        self.kind: Kind = reconstruction
        self.kl, self.deviation, self.terms = kl, deviation, dict(terms or {})
        self.logvar = nn.Parameter(torch.zeros(())) if learned_logvar else None

    def forward(self, x: Tensor, x_hat: Tensor, mean: Tensor, logvar: Tensor) -> Losses:
        """x, x_hat: float32 images (B, C, H, W); mean, logvar: of z."""
        numbers = x[0].numel()
        rec = reconstruction_loss(x, x_hat, self.kind, self.deviation)
        summands = {"rec": rec} | {
            name: numbers * term.scale * term(x_hat, x) for name, term in self.terms.items()
        }
        nll = torch.stack(list(summands.values())).sum(0)
        if self.logvar is not None:
            nll = nll * (-self.logvar).exp() + numbers * self.logvar
        nats = divergence(mean, logvar).flatten(1).sum(1)
        parts = {**summands, "kl": self.kl * nats}
        return Losses(nll, nats, self.kl, {name: part.detach() for name, part in parts.items()})


def reconstruction_loss(x: Tensor, x_hat: Tensor, kind: Kind, deviation: float = 1.0) -> Tensor:
    """Return Σ ρ(x̂ − x) of each image, (B,)."""
    error = (x_hat - x).flatten(1)
    if kind == "l1":
        return error.abs().sum(1)
    square = error.square().sum(1)
    if kind == "l2":
        return square
    constant = math.log(deviation) + 0.5 * math.log(2 * math.pi)
    return square / (2 * deviation**2) + error.shape[1] * constant
