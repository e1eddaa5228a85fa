"""What a conditioning does: it makes the condition that the network is told of what is asked for.

In training a condition is dropped with some probability, that is, replaced by the null condition, so that one
network learns the conditional and the unconditional model (Ho & Salimans 2022).
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from diffexp.condition import Asked, Condition


class Conditioning(nn.Module):
    """The network is told nothing beside x_t and t: what all kinds of conditioning begin with.

    A module, for it may have weights. Those that are trained are made by the constructor or by `setup`, and
    are in the checkpoint of the run. Those that `load` reads from a file, whose path is `source`, have no
    gradient, and are not: the checkpoint has a digest of them. Constructing one is cheap: it is done for
    checks. What it makes is on the device of what is asked for, or of its own weights.
    """

    asks: ClassVar[tuple[str, ...]] = ()
    """The fields of Asked without which there is no condition."""
    source: str | None = None
    """The file of the weights that are not trained, None for a conditioning without such; with one, weights
    without a gradient, and buffers, are taken to be of that file."""

    def __init__(self) -> None:
        super().__init__()

    def fit(self, texts: Sequence[str] | None) -> None:
        """Find out, once, before `setup` of a model that is to be trained, what is to be known of the
        captions of the training images, such as their words; None: they have none. Raises ConfigError.
        """

    def learned(self) -> dict[str, Any]:
        """Return what `fit` has found out, as plain values: a checkpoint holds it."""
        return {}

    def remember(self, learned: Mapping[str, Any]) -> None:
        """Take what `learned` has returned, out of a checkpoint, in place of `fit`. Raises DataError."""

    def adapted(self, weights: Mapping[str, Tensor], learned: Mapping[str, Any]) -> dict[str, Tensor]:
        """Return the weights of the conditioning of another run, by their names in this module, as they are
        to be here, for a run that begins with them; learned: of that run.
        """
        return dict(weights)

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
        """Read what is heavy, once, after every check; what it makes needs `requires_grad_(False)`."""

    def encode(self, asked: Asked) -> Condition | None:
        """Return the condition of what is asked for, a row each, or None. A row is the same in any batch.

        In training the gradient of its weights goes through it. Raises ConfigError where a field is missing.
        """
        return None

    def null(self, asked: Asked) -> Condition | None:
        """Return what guidance goes away from, and what a dropped condition becomes: the negative that is
        asked for, or nothing. As many rows, with the same fields as those of `encode`.
        """
        return None

    def keep(self, n: int, generator: torch.Generator) -> Tensor | Mapping[str, Tensor] | None:
        """Return which of n images keep their condition in training, bool (n,) on the device of the
        generator, or None for all; or such a tensor for each field of the condition that is not always kept.
        n: the images of all ranks; only the generator may decide.
        """
        return None

    def unknown(self, texts: Sequence[str]) -> dict[str, str | None]:
        """Return words of captions that are not known, and the known word that is nearest to each."""
        return {}

    def remarks(self, asked: Asked) -> list[str]:
        """Return lines to say of what is asked for: unknown words, captions that are cut."""
        return []

    @property
    def guidable(self) -> bool:
        """True where the network also learns the null condition."""
        return False


class Unconditional(Conditioning):
    """Labels and captions are not used."""


def nearest_of(unknown: Mapping[str, str | None]) -> str:
    """Return words that are not known, each with the known one that is nearest to it, for a line."""
    return ", ".join(f"{word} (nearest: {near})" if near else word for word, near in unknown.items())
