"""What a conditioning does: it makes the condition that the network is told of what is asked for.

In training a condition is dropped with some probability, that is, replaced by the null condition, so that one
network learns the conditional and the unconditional model (Ho & Salimans 2022).
"""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from diffexp.condition import Asked, Condition


class Conditioning(nn.Module):
    """The network is told nothing beside x_t and t: what all kinds of conditioning begin with.

    A module, for it may have weights: those that are trained are in the checkpoint of the run; those that
    `load` reads from a file, whose path is `source`, are not. Constructing one is cheap: it is done for
    checks.
    """

    asks: ClassVar[tuple[str, ...]] = ()
    """The fields of Asked without which there is no condition."""
    source: str | None = None
    """The file of the weights that are not trained, None for a conditioning without such."""

    def __init__(self) -> None:
        super().__init__()

    def setup(self, classes: int | None) -> None:
        """Be told, once, of how many classes the images are, None for none. Raises ConfigError for images
        that this conditioning has nothing to say of.
        """

    def network(self) -> dict[str, Any]:
        """Return what the network is built with: num_classes, token_dim, vector_dim or an option of its own.

        None stands for what there is not, and a network need not know of it.
        """
        return {"num_classes": None}

    def check(self) -> None:
        """Raise DiffexpError where something is missing that `load` needs; quickly, before any work."""

    def load(self) -> None:
        """Read what is heavy, once, after every check."""

    def encode(self, asked: Asked) -> Condition | None:
        """Return the condition of what is asked for, a row each, or None. Raises ConfigError where a field
        is missing.
        """
        return None

    def null(self, asked: Asked) -> Condition | None:
        """Return what guidance goes away from, as many rows: the negative that is asked for, or nothing."""
        return None

    def keep(self, n: int, generator: torch.Generator) -> Tensor | None:
        """Return which of n images keep their condition in training, bool (n,) on the device of the
        generator, or None for all.
        """
        return None

    @property
    def guidable(self) -> bool:
        """Whether the network also learns the null condition."""
        return False


class Unconditional(Conditioning):
    """Labels and captions are not used."""
