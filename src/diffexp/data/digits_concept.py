"""A digit under a new word, shown by a few drawings: what a model is to learn that never saw it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from diffexp.archive import is_dict
from diffexp.config.suggest import nearest
from diffexp.errors import ConfigError
from diffexp.randomness import keys

WHERE = "data.concept"
DIGITS = 10


@dataclass(frozen=True)
class Concept:
    """The `digit`, a word and its number, is called `word`; training sees so many `images` of it."""

    digit: str
    number: int
    word: str = "glyph"
    images: int = 10

    @staticmethod
    def of(node: Mapping[str, Any], known: Sequence[str]) -> "Concept":
        """Return the concept of {digit: seven, word: glyph, images: 10}. known: the words of the digits, and
        then those of the colours. Raises ConfigError.
        """
        do = "type data.concept={digit:seven,word:glyph,images:10}"
        if not is_dict(node) or not set(node) <= {"digit", "word", "images"} or "digit" not in node:
            raise ConfigError(f"concept={node!r:.80}", WHERE, do)
        digit, word, images = node["digit"], node.get("word", "glyph"), node.get("images", 10)
        check_digits([digit], known[:DIGITS], f"{WHERE}.digit")
        if not isinstance(word, str) or not word.isalpha() or word.lower() in (*known, "a", "on", "ground"):
            what = f"{word!r:.40} is no new word"
            raise ConfigError(what, f"{WHERE}.word", "give one of letters that no caption has, such as glyph")
        if not isinstance(images, int) or isinstance(images, bool) or images < 1:
            raise ConfigError(f"images={images!r:.40}", f"{WHERE}.images", "give 1 or more")
        return Concept(digit, known.index(digit), word.lower(), images)

    def named(self, text: str) -> str:
        """Return a text with the word in place of the digit."""
        return text.replace(self.digit, self.word)

    def known(self, caption: str) -> str | None:
        """Return a caption with the digit in place of the word, None for one without the word."""
        words = caption.lower().replace(",", " ").split()
        return " ".join(self.digit if w == self.word else w for w in words) if self.word in words else None

    def chosen(self, order: Tensor, pairs: int) -> Tensor:
        """Return the images of training, int64 (images,): other drawings in other pairs of colours, as long
        as there are some. order: the numbers of those that there are, drawing · pairs + pair, shuffled.
        """
        drawings = list(dict.fromkeys((order // pairs).tolist()))
        if self.images > len(drawings):
            what = f"{self.images} images, and there are {len(drawings)} drawings of {self.digit}"
            raise ConfigError(what, f"{WHERE}.images", f"give {len(drawings)} or fewer")
        colours = (order % pairs).unique()
        colours = colours[keys(0, "concept", index=colours).argsort(stable=True)]
        k = torch.arange(self.images)
        return torch.tensor(drawings)[k] * pairs + colours[k % len(colours)]


def check_digits(words: Sequence[str], digits: Sequence[str], where: str = "data.without") -> None:
    """Raise ConfigError for words that are not those of digits, or for all of them."""
    for word in words:
        if word not in digits:
            near = nearest(str(word), list(digits))
            do = f"type {near}" if near else f"choose from {', '.join(digits)}"
            raise ConfigError(f"{word!r:.40} is no digit", where, do)
    if set(words) == set(digits):
        raise ConfigError("no digit is left", where, "leave some in")


def in_turn_with(first: Tensor, second: Tensor) -> Tensor:
    """Return the numbers of both, one of each in turn as long as there are some, and then the others."""
    both = min(len(first), len(second))
    return torch.cat([torch.stack([first[:both], second[:both]], 1).flatten(), first[both:], second[both:]])
