"""A report on captions: how long they are and how much of them an encoder cuts, which are there twice or
empty, in which scripts they are written, and their most frequent words.
"""

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import fmean
from typing import Protocol

from diffexp.data.captions import Texts

WORD_LETTERS = 40  # of a word that is shown
_SCRIPTS = {"Cjk": "Han", "Ideographic": "Han", "Halfwidth": "Katakana", "Fullwidth": "Latin"}
_SYMBOLS = "emoji and symbols"


class Reader(Protocol):
    """A text encoder, as far as the report needs it. room: how many pieces of a caption it reads; piece: what
    they are, such as words or tokens; lengths(texts): how many each caption has, before it is cut.
    """

    room: int
    piece: str

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """Return the number of pieces of each caption."""
        ...


@dataclass(frozen=True)
class Lengths:
    """Lengths of captions: the least, the middle one, the mean, the 95th of a hundred, and the most."""

    least: int
    median: int
    mean: float
    p95: int
    most: int

    @staticmethod
    def of(lengths: Sequence[int]) -> "Lengths":
        """Return those of at least one caption."""
        ordered, last = sorted(lengths), len(lengths) - 1
        middle, late = ordered[last // 2], ordered[round(0.95 * last)]
        return Lengths(ordered[0], middle, fmean(ordered), late, ordered[-1])


@dataclass(frozen=True)
class Cut:
    """The part of captions that a text encoder does not read. piece, room: as those of Reader; captions: how
    many are longer than that; lost: the share of all pieces that is cut off; lengths: of all captions, in
    pieces.
    """

    piece: str
    room: int
    captions: int
    lost: float
    lengths: Lengths


@dataclass(frozen=True)
class CaptionReport:
    """The captions of images. captions: how many, of all images; several: images with more than one; empty:
    captions without a letter; again: captions that an earlier one is equal to; repeated: the most frequent of
    these, with their numbers; scripts: captions with a letter of each; frequent: words in how many captions.
    """

    images: int
    captions: int
    several: int
    empty: int
    again: int
    words: Lengths
    letters: Lengths
    scripts: dict[str, int]
    repeated: list[tuple[str, int]]
    frequent: list[tuple[str, int]]
    cut: Cut | None


def caption_report(parts: Iterable[Texts], reader: Reader | None = None, most: int = 20) -> CaptionReport:
    """Return the report on the captions of several splits, as training and validation see them (whole). Lists
    have the `most` frequent.
    """
    images = [[part.options.whole(text) for text in part[i]] for part in parts for i in range(len(part))]
    texts = [text for several in images for text in several]
    counts, scripts, words = Counter(texts), Counter[str](), Counter[str]()
    for text, n in counts.items():
        for name in scripts_of(text):
            scripts[name] += n
        for word in {w for part in text.casefold().split() if (w := part.strip(_EDGES))}:
            words[word[:WORD_LETTERS]] += n
    again = {text: n for text, n in counts.items() if n > 1}
    return CaptionReport(
        images=len(images),
        captions=len(texts),
        several=sum(len(several) > 1 for several in images),
        empty=sum(n for text, n in counts.items() if not text.strip()),
        again=sum(again.values()) - len(again),
        words=Lengths.of([len(text.split()) for text in texts]),
        letters=Lengths.of([len(text) for text in texts]),
        scripts=dict(_ordered(scripts)),
        repeated=_ordered(again)[:most],
        frequent=_ordered(words)[:most],
        cut=None if reader is None else _cut(texts, reader),
    )


_EDGES = ".,;:!?\"'()[]{}<>«»“”‘’„…-–—*_/\\|`"


def _ordered(counts: dict[str, int]) -> list[tuple[str, int]]:
    """Return the most frequent first; equal ones by their names, so that the order says nothing else."""
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def _cut(texts: Sequence[str], reader: Reader) -> Cut:
    lengths = reader.lengths(texts)
    over = [n - reader.room for n in lengths if n > reader.room]
    lost = sum(over) / max(1, sum(lengths))
    return Cut(reader.piece, reader.room, len(over), lost, Lengths.of(lengths))


def scripts_of(text: str) -> set[str]:
    """Return the scripts of a text's letters, as Unicode names them (Latin, Han, Arabic), and whether it has
    emoji or other symbols.
    """
    return {name for letter in set(text) if (name := _script(letter))}


@lru_cache(maxsize=1 << 16)
def _script(letter: str) -> str:
    kind = unicodedata.category(letter)
    if kind == "So":
        return _SYMBOLS
    if kind[0] != "L":
        return ""
    name = unicodedata.name(letter, "unknown").split()[0].partition("-")[0].capitalize()
    return _SCRIPTS.get(name, name)


def rows_of(report: CaptionReport) -> list[tuple[str, str]]:
    """Return the numbers of a report, each with its name."""
    rows = [
        ("images with captions", f"{report.images:,}"),
        ("captions", f"{report.captions:,}"),
        ("images with several", f"{report.several:,}"),
        ("empty captions", f"{report.empty:,}"),
        ("captions that an earlier one is equal to", f"{report.again:,}"),
        ("words", _shown(report.words)),
        ("letters", _shown(report.letters)),
        ("captions with letters of", ", ".join(f"{k} {n:,}" for k, n in report.scripts.items()) or "none"),
    ]
    if (cut := report.cut) is not None:
        share = f"{cut.captions:,} of {report.captions:,}, {100 * cut.lost:.3g} % of all {cut.piece}"
        rows += [(cut.piece + " of the encoder", _shown(cut.lengths))]
        rows += [(f"captions cut at {cut.room} {cut.piece}", share)]
    return rows


def _shown(n: Lengths) -> str:
    return f"{n.least:,} to {n.most:,}, mean {n.mean:.1f}, median {n.median:,}, 95 % up to {n.p95:,}"
