"""Words that an encoder has learned later, each with vectors of its own (Gal et al. 2022)."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from diffexp.archive import is_dict

MOST, LONGEST, MOST_VECTORS = 1000, 200, 1000  # words, letters of one, vectors of one


class Concepts(nn.Module):
    """New words of an encoder. Each stands for (V, width) vectors, in place of rows of the encoder's table,
    and is found in a caption before its other words are.

    kept: the vectors of those that belong to the model; tuned: those of a word that is being trained, which
    `learned` does not tell of: it belongs to the run, and not to the model below it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.sizes = dict[str, int]()
        self.norms = dict[str, float]()
        self.kept = nn.ParameterList()
        self.tuned: nn.Parameter | None = None

    def __len__(self) -> int:
        return sum(self.sizes.values())

    def add(self, word: str, vectors: Tensor, norm: float | None = None, tuned: bool = False) -> None:
        """Add a word with these vectors, (V, width). norm: the length that each vector is brought to."""
        if tuned:
            self.tuned = nn.Parameter(vectors)
        else:
            self.kept.append(nn.Parameter(vectors))
        self.sizes[word] = len(vectors)
        if norm is not None:
            self.norms[word] = norm

    def keep(self) -> None:
        """Take the word that was tuned for one of the model."""
        if self.tuned is not None:
            *_, word = self.sizes
            with torch.no_grad():
                vectors = self.vectors()[word].clone()
            self.norms.pop(word, None)
            self.tuned = None
            self.kept.append(nn.Parameter(vectors))

    def learned(self) -> dict[str, int]:
        """Return the words of the model, and how many vectors each has."""
        return dict(list(self.sizes.items())[: len(self.kept)])

    def remember(self, learned: Any) -> None:
        """Take what `learned` has returned. Raises ValueError for what is damaged."""
        sound = is_dict(learned) and len(learned) <= MOST and all(map(_sound, learned.items()))
        if not sound:
            raise ValueError("the words that were learned later are no words with a number of vectors")
        self.sizes = {str(word): int(n) for word, n in learned.items()}

    def setup(self, width: int) -> None:
        """Make the vectors of the words that are remembered."""
        self.kept = nn.ParameterList(nn.Parameter(torch.zeros(n, width)) for n in self.sizes.values())

    def vectors(self) -> dict[str, Tensor]:
        """Return the vectors of each word, (V, width)."""
        every: list[Tensor] = [*self.kept, *([] if self.tuned is None else [self.tuned])]
        made = dict(zip(self.sizes, every, strict=True))
        for word, norm in self.norms.items():
            made[word] = norm * torch.nn.functional.normalize(made[word], dim=1)
        return made

    def rows(self) -> Tensor:
        """Return the vectors of all words, in their order, (sum of V, width)."""
        return torch.cat(list(self.vectors().values()))

    def within(self, text: str) -> bool:
        """Return whether one of the words is in a caption."""
        return bool(self.sizes) and pattern_of(self.sizes).search(text) is not None

    def parts(self, text: str) -> Iterator[str | range]:
        """Yield the text between the words, as it is, and for each word the numbers of its rows."""
        ends, at, n = dict[int, range](), 0, 0
        for i, size in enumerate(self.sizes.values(), 1):
            ends[i], n = range(n, n + size), n + size
        for match in pattern_of(self.sizes).finditer(text) if self.sizes else ():
            yield text[at : match.start()]
            yield ends[match.lastindex or 0]
            at = match.end()
        yield text[at:]

    def plain(self, text: str) -> list[str]:
        """Return the text between the words alone."""
        return [part for part in self.parts(text) if isinstance(part, str)]


def pattern_of(words: Mapping[str, int] | Sequence[str]) -> re.Pattern[str]:
    """Return what finds these words in a caption, in small letters or large, each as a group. "thing" is not
    in "things", and "<thing>" is in "a<thing>".
    """
    return re.compile("|".join(f"({_one(word)})" for word in words), re.IGNORECASE)


def _one(word: str) -> str:
    before, after = (side if re.match(r"\w", end) else "" for side, end in (
        (r"(?<!\w)", word[0]), (r"(?!\w)", word[-1])
    ))  # fmt: skip
    return f"{before}{re.escape(word)}{after}"


def _sound(item: tuple[Any, Any]) -> bool:
    word, n = item
    return is_word(word) and type(n) is int and 1 <= n <= MOST_VECTORS


def is_word(word: object) -> bool:
    """Return whether it can be a new word: letters or signs without a blank, and without a point, which
    stands in the names of weights.
    """
    return isinstance(word, str) and 0 < len(word) <= LONGEST and not re.search(r"[\s.]", word)
