"""The judge of digits in colour: whether an image shows what its caption says, without any network.

Ink and ground are found by least squares over the pairs of colours, the digit by a support vector machine on
the share of ink (data/digits_text.py). On the real test images it is right nearly always, as the card says.
"""

import torch
from torch import Tensor

from diffexp.data.batch import Batch
from diffexp.data.dataset import DataSet
from diffexp.data.digits import Digits
from diffexp.data.digits_text import CAPTIONS, COLOURS, PAIRS, WORDS, DigitsText, is_held_out, said, unmixed
from diffexp.data.mix import Mix
from diffexp.errors import ConfigError
from diffexp.metrics.distributed import summed
from diffexp.metrics.each import Each
from diffexp.metrics.extractor import Extractor
from diffexp.metrics.metric import Card

PARTS = ("digit", "ink", "ground")
ENDS = ("", "_held_out", "_concept")


class ColouredDigits:
    """Keys right_digit, right_ink, right_ground, right (all that the caption says), of captions that training
    has seen; the same with _held_out of those that it has not, and with _concept of those of a digit under a
    new word; and swapped, the share whose ink and ground are each other's. The card has the share of each
    ink, whatever was asked for. An image that has no caption is judged by the name of its class.
    """

    reference = "test"

    def check(self, data: DataSet, extractor: Extractor | None) -> None:
        """Raise ConfigError for other data."""
        if not isinstance(shown(data), DigitsText):
            what = f"this judge knows the captions of data=digits_text, and {data.name} has others"
            raise ConfigError(what, "metrics", "type metrics=clip_score, or metrics=none")

    def prepare(self, data: DataSet, extractor: Extractor | None, n: int) -> None:
        """Train the support vector machine: half a second."""
        from sklearn.svm import SVC

        digits = shown(data)
        self._concept = digits.concept if isinstance(digits, DigitsText) else None
        train, test = Digits().split("train"), data.split("test").batch(torch.arange(1000))
        real = train.batch(torch.arange(len(train)))
        assert real.label is not None and test.text is not None
        self._svm = SVC(C=10.0, kernel="rbf", gamma="scale")
        self._svm.fit((real.image.flatten(1) / 255).numpy(), real.label.numpy())
        self._classes: tuple[str, ...] = digits.classes or ()
        self._card: Card = {"judge": "least squares and svm", "n": 0, "data": data.name}
        self.reset()
        self.update(test, None)
        values = self.compute()
        kinds = [values[key] for end in ENDS if (key := f"right{end}") in values]
        self._card["right_real_test"] = sum(kinds) / len(kinds)
        self.reset()

    def update(self, batch: Batch, features: Tensor | None) -> None:
        """Judge images, uint8 (B, 3, 8, 8); those without a caption and without a class are not counted."""
        pair, share = unmixed(batch.image.cpu())
        digit = self._svm.predict(share.float().flatten(1).numpy())
        for i, caption in enumerate(self._captions(batch)):
            ink, ground = PAIRS[int(pair[i])]
            self._inks[list(COLOURS).index(ink)] += 1
            self._count(caption, (WORDS[digit[i]], ink, ground), batch.index[i])

    def _captions(self, batch: Batch) -> list[str]:
        if batch.text is not None:
            return batch.text
        return [] if batch.label is None else [self._classes[i] for i in batch.label.tolist()]

    def _count(self, caption: str, seen: tuple[str, str, str], number: Tensor) -> None:
        concept = None if self._concept is None else self._concept.known(caption)
        asked = said(concept or caption)
        rows = [float(a == s) if a is not None else None for a, s in zip(asked, seen, strict=True)]
        if all(right is None for right in rows):
            return
        swapped = float(asked[1:] == seen[:0:-1]) if None not in asked[1:] else None
        rows += [float(0 not in rows), swapped]
        held = 2 if concept else int(caption in HELD_OUT)
        values = torch.full((len(ENDS), len(rows)), torch.nan)
        for j, right in enumerate(rows):
            if right is not None:
                values[held, j] = right
                self._counts[held, j, 0] += right
                self._counts[held, j, 1] += 1
        self._each.update(number[None], values)

    def compute(self) -> dict[str, float]:
        """Return the shares over all ranks: a collective call."""
        counts, inks = summed(self._counts, self._inks)
        each, self.each = self._each.over_ranks().unflatten(0, (len(ENDS), -1)), dict[str, Tensor]()
        values, errors = dict[str, float](), dict[str, float]()
        for held, end in enumerate(ENDS):
            for j, name in enumerate((*(f"right_{part}" for part in PARTS), "right", "swapped")):
                right, n = counts[held, j].tolist()
                if n:
                    values[name + end] = p = right / n
                    errors[name + end] = (p * (1 - p) / n) ** 0.5
                    self.each[f"{name}{end}/each"] = each[held, j]
        self._card |= {"n": int(counts[:, 3, 1].sum()), "n_held_out": int(counts[1, 3, 1])}
        if self._concept is not None:
            self._card["n_concept"] = int(counts[2, 3, 1])
        self._card["standard_errors"] = errors
        shares = (inks / inks.sum().clamp(min=1)).tolist()
        self._card["inks"] = dict(zip(COLOURS, (round(share, 4) for share in shares), strict=True))
        return values

    def card(self) -> Card:
        return dict(self._card)

    def evidence(self) -> dict[str, Tensor]:
        """Return what was right of each image, for comparisons; NaN where it says nothing of it."""
        return dict(self.each)

    def reset(self) -> None:
        self._counts = torch.zeros(len(ENDS), len(PARTS) + 2, 2, dtype=torch.float64)
        self._inks = torch.zeros(len(COLOURS), dtype=torch.float64)
        self._each, self.each = Each(self._counts[..., 0].numel()), dict[str, Tensor]()


def shown(data: DataSet) -> DataSet:
    """Return the part of a mixture whose captions are asked for, where it is one; else the data."""
    parts = [*data.seen.values()] if isinstance(data, Mix) else [data]
    return parts[0] if len(parts) == 1 else data


def _held_out() -> frozenset[str]:
    number = torch.arange(len(CAPTIONS))
    held = is_held_out(number // len(PAIRS), number % len(PAIRS))
    return frozenset(CAPTIONS[i] for i in number[held].tolist())


HELD_OUT = _held_out()
"""The captions that no training image has."""
