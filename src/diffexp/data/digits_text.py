"""Real digits in colour, with captions: the smallest set that asks whether a model binds a colour to a thing.

    image = a · ink + (1 − a) · ground,    a in [0, 1] the share of ink, "a red three on a blue ground"

10 digits, 6 colours of ink and 5 others of ground make 300 captions. 45 of them are held out of training, so
that each digit, and each pair of colours, is known from other captions.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from diffexp.data.dataset import DataSet, Images, Splits
from diffexp.data.digits import Digits
from diffexp.data.digits_concept import Concept, check_digits, in_turn_with
from diffexp.data.memory import InMemory
from diffexp.errors import ConfigError
from diffexp.randomness import keys

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
COLOURS = {
    "red": (220, 40, 40),
    "green": (40, 180, 60),
    "blue": (50, 80, 220),
    "yellow": (235, 215, 60),
    "white": (245, 245, 245),
    "black": (15, 15, 15),
}
PAIRS = tuple((ink, ground) for ink in COLOURS for ground in COLOURS if ink != ground)
CAPTIONS = tuple(f"a {ink} {word} on a {ground} ground" for word in WORDS for ink, ground in PAIRS)

PARTIAL = ("a {ink} {digit}", "a {digit} on a {ground} ground", "{ink}")
"""What a caption is that leaves things out."""


def is_held_out(digit: Tensor, pair: Tensor) -> Tensor:
    """Return which captions no image of the train split has, 45 of 300.

    digit, pair: int64 (N,), numbers in WORDS and PAIRS. The rule has no meaning but this: each digit lacks
    four or five of the 30 pairs of colours, and each pair one or two of the digits.
    """
    return (2 * digit + 3 * pair + pair // 2) % 20 < 3


def painted(share: Tensor, pair: Tensor) -> Tensor:
    """Return images, uint8 (N, 3, 8, 8), of shares of ink, (N, 8, 8), in pairs of colours, int64 (N,)."""
    colours = torch.tensor([[COLOURS[ink], COLOURS[ground]] for ink, ground in PAIRS], dtype=torch.float64)
    ink, ground = (colours[pair, i, :, None, None] for i in (0, 1))
    a = share[:, None].double()
    return (a * ink + (1 - a) * ground).round().to(torch.uint8)


class DigitsText(DataSet):
    """The digits of scikit-learn in all pairs of colours, 3x8x8, each with its caption.

    Splits are those of the digits, so that no digit is in two of them, in every pair of colours: train has
    36,643 images of the 255 captions that are not held out; val and test have 5,400 of all 300, one that was
    held out after each that was not, as long as there are some.
    label: what the class of an image is: its caption (300 classes), or the digit. partial: the share of the
    training captions that leave things out, so that a word alone means something, in a negative prompt too.
    without: words of digits that are in no split. concept: a digit under a new word, which alone is in the
    train split, with some drawings; in val and test it comes in turn with all others. Raises ConfigError.
    """

    name = "digits_text"

    def __init__(
        self,
        label: Literal["caption", "digit"] = "caption",
        partial: float = 0.2,
        without: tuple[str, ...] = (),
        concept: Mapping[str, Any] | None = None,
    ) -> None:
        if not 0 <= partial <= 1:
            raise ConfigError(f"partial={partial}", "data.partial", "give a share from 0 to 1")
        check_digits(without, WORDS)
        self.label, self.partial, self.without = label, partial, without
        self.concept = None if concept is None else Concept.of(concept, (*WORDS, *COLOURS))

    @property
    def shape(self) -> tuple[int, int, int]:
        return 3, 8, 8

    @property
    def classes(self) -> tuple[str, ...]:
        names = CAPTIONS if self.label == "caption" else WORDS
        return names if self.concept is None else tuple(map(self.concept.named, names))

    def read(self) -> Splits:
        train, val, test = Digits().read()
        return Splits(
            self._coloured(train, "train"), self._coloured(val, "val"), self._coloured(test, "test")
        )

    def _coloured(self, part: Images, split: str) -> InMemory:
        assert isinstance(part, InMemory) and part.labels is not None
        number = torch.arange(len(part)).repeat_interleave(len(PAIRS))
        pair = torch.arange(len(PAIRS)).repeat(len(part))
        digit = part.labels[number]
        order = self._order(digit, pair, split)
        number, pair, digit = number[order], pair[order], digit[order]
        caption = digit * len(PAIRS) + pair
        images = painted(part.images[number, 0] / 255, pair)
        labels = caption if self.label == "caption" else digit
        texts = [CAPTIONS[i] for i in caption.tolist()]
        if self.concept is not None:
            texts = list(map(self.concept.named, texts))
        elif split == "train":
            texts = self._shortened(texts)
        return InMemory(images, labels, texts)

    def _shortened(self, texts: list[str]) -> list[str]:
        """Return the captions, a share `partial` of them with things left out."""
        drawn = (keys(0, "partial", index=torch.arange(len(texts))).double() / 2**63).tolist()
        for i, u in enumerate(drawn):
            if u < self.partial:
                digit, ink, ground = said(texts[i])
                form = PARTIAL[int(u / self.partial * len(PARTIAL))]
                texts[i] = form.format(digit=digit, ink=ink, ground=ground)
        return texts

    def _order(self, digit: Tensor, pair: Tensor, split: str) -> Tensor:
        """Return the images of a split by number, shuffled; but for train, seen and held out in turn."""
        shuffled = keys(0, "split", "digits_text", split, index=torch.arange(len(digit))).argsort(stable=True)
        held, concept = is_held_out(digit, pair), self.concept
        if concept is not None and split == "train":
            return concept.chosen(shuffled[(digit == concept.number)[shuffled] & ~held[shuffled]], len(PAIRS))
        left_out = torch.tensor(
            [WORDS.index(w) for w in self.without if not (concept and concept.digit == w)]
        )
        shuffled = shuffled[~torch.isin(digit, left_out)[shuffled]]
        new = torch.zeros_like(held) if concept is None else digit == concept.number
        mine, general = shuffled[new[shuffled]], shuffled[~new[shuffled]]
        seen, others = general[~held[general]], general[held[general]]
        if split == "train":
            return seen
        return in_turn_with(mine, in_turn_with(seen, others))


def unmixed(images: Tensor) -> tuple[Tensor, Tensor]:
    """Return the pair of colours of each image and its share of ink: int64 (N,) and float64 (N, 8, 8).

    images: uint8 (N, 3, 8, 8). Of all pairs the one between whose colours the pixels lie, by least squares;
    of its two orders the one whose border is ground.
    """
    shares, errors = list[Tensor](), list[Tensor]()
    x = images.double()
    for ink, ground in PAIRS:
        low = torch.tensor(COLOURS[ground], dtype=torch.float64)[:, None, None]
        way = torch.tensor(COLOURS[ink], dtype=torch.float64)[:, None, None] - low
        share = (((x - low) * way).sum(1) / way.square().sum()).clamp(0, 1)
        errors.append((x - low - share[:, None] * way).square().sum((1, 2, 3)))
        # of two orders with the same error, the one with less ink at the border
        errors[-1] = errors[-1] + 1e-3 * _border(share)
        shares.append(share)
    pair = torch.stack(errors).argmin(0)
    return pair, torch.stack(shares)[pair, torch.arange(len(images))]


def _border(share: Tensor) -> Tensor:
    """Return the mean share of ink in the outermost pixels."""
    inside = share[:, 1:-1, 1:-1]
    return (share.sum((1, 2)) - inside.sum((1, 2))) / (share[0].numel() - inside[0].numel())


def said(caption: str) -> tuple[str | None, str | None, str | None]:
    """Return the digit, ink and ground of a caption, None for what it does not say."""
    words: Sequence[str] = caption.lower().replace(",", " ").split()
    digit = next((word for word in words if word in WORDS), None)
    colours = [i for i, word in enumerate(words) if word in COLOURS]
    ground = next((words[i] for i in colours if words[i + 1 : i + 2] == ["ground"]), None)
    ink = next((words[i] for i in colours if words[i + 1 : i + 2] == [digit]), None)
    return digit, ink, ground
