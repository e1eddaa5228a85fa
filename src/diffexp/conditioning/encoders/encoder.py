"""What a text encoder does: captions become tokens, which the network looks at, and a pooled vector."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor, nn

from diffexp.conditioning.encoders.concepts import Concepts


class Encoded(NamedTuple):
    """Captions, encoded. tokens: float32 (B, L, dim); mask: bool (B, L), which of them count, at least one of
    each caption; vector: float32 (B, dim), the caption as a whole.
    """

    tokens: Tensor
    mask: Tensor
    vector: Tensor


class TextEncoder(nn.Module):
    """Encode captions. The order of calls: the constructor, which is cheap; `fit` before a training, or
    `remember` of what it has found out; `setup`, which makes the weights that are trained; `load`.

    A caption comes out the same in any batch. The empty caption is one as well: it is what guidance goes away
    from. Weights from a file have no gradient, and `source` says which file (conditioning.py).
    """

    source: str | None = None
    dim: int
    """The width of tokens and vector, known after `setup`."""
    room: int
    """How many pieces (words, bytes, tokens) of a caption are encoded; the rest is cut."""
    piece = "pieces"
    """What `room` counts, for messages."""
    learns = False
    """Whether it can learn new words (`concepts`): it then has `ids`, `embeddings` and `width`."""

    def __init__(self) -> None:
        super().__init__()
        self.concepts = Concepts()

    def fit(self, texts: Sequence[str] | None) -> None:
        """Find out, once, what is to be known of the captions of the training images; None: they have none.
        Raises ConfigError.
        """

    def learned(self) -> dict[str, Any]:
        """Return what `fit` has found out as plain values, which the checkpoint holds."""
        return {}

    def remember(self, learned: Mapping[str, Any]) -> None:
        """Take what `learned` has returned, out of a checkpoint. Raises ValueError for what is damaged."""

    def setup(self) -> None:
        """Make the weights that are trained."""

    def check(self) -> None:
        """Raise DiffexpError where something is missing that `load` needs."""

    def load(self) -> None:
        """Read what is heavy, once, after every check."""

    def forward(self, texts: Sequence[str]) -> Encoded:
        """Encode captions, a row each."""
        raise NotImplementedError

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """Return how many pieces each caption has, before it is cut at `room`."""
        raise NotImplementedError

    def unknown(self, texts: Sequence[str]) -> dict[str, str | None]:
        """Return the words that it does not know, at most ten, and the known word that is nearest to each."""
        return {}

    def ids(self, text: str) -> list[int]:
        """Return the rows of `embeddings` of a text without new words; what is not known is left out."""
        raise NotImplementedError

    def embeddings(self) -> Tensor | None:
        """Return the vector of each piece, (pieces, width); None before `load` where that reads it."""
        raise NotImplementedError

    @property
    def width(self) -> int:
        """Return how many numbers a row of `embeddings` has."""
        return self.dim

    def adapted(self, weights: Mapping[str, Tensor], learned: Mapping[str, Any]) -> dict[str, Tensor]:
        """Return the weights of another run, by their names in this module, for what is known here; learned:
        of that run.
        """
        return dict(weights)
