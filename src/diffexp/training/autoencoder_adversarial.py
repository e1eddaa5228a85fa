"""The adversarial term of an autoencoder (Esser et al. 2021): a discriminator that is trained along.

generator      weight · λ · E[−D(x̂)]
discriminator  hinge: ½ E[max(0, 1 − D(x)) + max(0, 1 + D(x̂))],   vanilla: the same of softplus(∓D)
λ              ‖∇ nll‖ / (‖∇ E[−D(x̂)]‖ + 1e-4) at the decoder's last layer, at most `most`; or 1
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffexp.errors import ConfigError
from diffexp.networks.discriminator import Discriminator


@dataclass(frozen=True)
class Adversarial:
    """The term above. weight: 0 for none; start: the step of the optimizer from which it counts, and the
    discriminator is trained; channels, layers: of the discriminator. Raises ConfigError.
    """

    weight: float = 0.0
    loss: Literal["hinge", "vanilla"] = "hinge"
    start: int = 0
    adaptive: bool = True
    most: float = 1e4
    channels: int = 64
    layers: int = 3

    def __post_init__(self) -> None:
        if self.weight < 0 or self.start < 0 or self.most <= 0 or self.loss not in ("hinge", "vanilla"):
            what = f"weight={self.weight}, start={self.start}, most={self.most}, loss={self.loss}"
            do = "give a weight and a step of 0 or more, a positive most, hinge or vanilla"
            raise ConfigError(what, "autoencoder.adversarial", do)

    def discriminator(self, shape: tuple[int, int, int]) -> Discriminator | None:
        """Return a new discriminator of images of that shape, None where the term is off."""
        return Discriminator(shape[0], shape[1:], self.channels, self.layers) if self.weight else None

    def of_discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """Return the discriminator's loss of its logits, 0-dim."""
        if self.loss == "hinge":
            return 0.5 * (F.relu(1 - real).mean() + F.relu(1 + fake).mean())
        return 0.5 * (F.softplus(-real).mean() + F.softplus(fake).mean())


def adaptive_weight(
    nll: Tensor,
    adversarial: Tensor,
    last: nn.Parameter,
    most: float = 1e4,
    over_ranks: Callable[[Tensor], Tensor] = lambda x: x,
) -> Tensor:
    """Return λ, 0-dim, without gradient. nll, adversarial: 0-dim losses, whose graphs are kept; last: the
    weight of the decoder's last layer; over_ranks: averages a tensor over the ranks.
    """
    norms = [
        over_ranks(torch.autograd.grad(loss, last, retain_graph=True)[0]).norm()
        for loss in (nll, adversarial)
    ]
    return (norms[0] / (norms[1] + 1e-4)).clamp(0, most).detach()
