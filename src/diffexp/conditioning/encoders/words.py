"""The words of the training captions, each with an embedding that is trained along with the network."""

from collections import Counter
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from torch import Tensor

from diffexp.archive import is_list
from diffexp.conditioning.encoders.pieces import words_of
from diffexp.conditioning.encoders.transformer import Trained
from diffexp.errors import ConfigError

MOST_WORDS, LONGEST, SAID = 1 << 20, 200, 10


class Words(Trained):
    """A vocabulary of the training captions, a small transformer over it, trained along with the network.

    most: words at most, the most frequent; least: how often one must be there to be known. A word that is not
    known is left out, and said (`unknown`). length: words that are read of a caption, at most.
    """

    piece = "words"

    def __init__(
        self,
        width: int = 64,
        layers: int = 2,
        heads: int = 4,
        length: int = 64,
        most: int = 20_000,
        least: int = 1,
    ) -> None:
        super().__init__(width, layers, heads, length)
        if not 1 <= most <= MOST_WORDS:
            raise ConfigError(f"most={most}", "text_encoder.most", f"give a number from 1 to {MOST_WORDS:,}")
        if least < 1:
            raise ConfigError(f"least={least}", "text_encoder.least", "give 1 or more")
        self.most, self.least = most, least
        self.numbers = dict[str, int]()

    def fit(self, texts: Sequence[str] | None) -> None:
        counts = Counter(word for text in texts or () for word in words_of(text) if len(word) <= LONGEST)
        frequent = sorted((-n, word) for word, n in counts.items() if n >= self.least)[: self.most]
        if texts and not frequent:
            what = f"no word of the training captions is there {self.least} times"
            raise ConfigError(what, "text_encoder.least", "give less, or take text_encoder=bytes")
        self._know(sorted(word for _, word in frequent))
        super().fit(texts)

    def _know(self, words: Sequence[str]) -> None:
        self.numbers = {word: i for i, word in enumerate(words, 1)}

    def learned(self) -> dict[str, Any]:
        return super().learned() | {"words": list(self.numbers)}

    def remember(self, learned: Mapping[str, Any]) -> None:
        words = learned.get("words")
        if not is_list(words) or not 1 <= len(words) <= MOST_WORDS:
            raise ValueError("the vocabulary is no list of words")
        if not all(isinstance(w, str) and 0 < len(w) <= LONGEST for w in words) or len(set(words)) < len(
            words
        ):
            raise ValueError("the vocabulary holds what is no word, or one twice")
        self._know(words)
        super().remember(learned)

    def rows(self) -> int:
        return len(self.numbers)

    def pieces(self, text: str) -> list[int]:
        return [self.numbers[word] for word in words_of(text) if word in self.numbers]

    def unknown(self, texts: Sequence[str]) -> dict[str, str | None]:
        plain = (part for text in texts for part in self.concepts.plain(text))
        words = dict.fromkeys(word for part in plain for word in words_of(part) if word not in self.numbers)
        some = [word for word in words if len(word) <= LONGEST][:SAID]
        near = {word: get_close_matches(word, self.numbers, n=1, cutoff=0.5) for word in some}
        long = {f"{word[:40]}...": None for word in words if len(word) > LONGEST}
        return {word: close[0] if close else None for word, close in near.items()} | dict([*long.items()][:1])

    def adapted(self, weights: Mapping[str, Tensor], learned: Mapping[str, Any]) -> dict[str, Tensor]:
        """Give each word that both know its row."""
        made, words = super().adapted(weights, learned), learned.get("words")
        theirs = made.get("table.weight")
        if is_list(words) and theirs is not None and theirs.shape == (len(words) + 1, self.dim):
            rows = {word: i for i, word in enumerate(words, 1)}
            table = self.table.weight.detach().clone()
            table[0] = theirs[0]
            for word, i in self.numbers.items():
                if word in rows:
                    table[i] = theirs[rows[word]].to(table)
            made["table.weight"] = table
        return made
