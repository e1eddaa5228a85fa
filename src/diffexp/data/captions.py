"""The captions of images, and what training draws of them: a function of (seed, epoch, index), as flips are,
so a run that goes on and any number of ranks see the same. Validation and evaluation see the first caption
of each image, whole.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor

from diffexp.config.suggest import nearest
from diffexp.data.cleaning import RULES, cleaned
from diffexp.errors import ConfigError
from diffexp.randomness import keys

WHERE = "data.caption"


@dataclass(frozen=True)
class Captions:
    """The options of captions; with the defaults they are as they were written.

    lines: each line of a caption is a caption of its own. clean: names of the rules in cleaning.py.
    shuffle: the order of comma-separated tags in training; dropout: the probability with which training
    leaves out each of them; keep: the first ones that are neither moved nor left out. With one of both the
    caption is its tags joined by ", ", in validation as well. prefix, suffix: written before and behind, as
    they are, always.
    Raises ConfigError.
    """

    lines: bool = False
    clean: tuple[str, ...] = ()
    shuffle: bool = False
    keep: int = 0
    dropout: float = 0.0
    prefix: str = ""
    suffix: str = ""

    def __post_init__(self) -> None:
        if unknown := [name for name in self.clean if name not in RULES]:
            near = nearest(unknown[0], list(RULES))
            do = f"type {near}" if near else f"choose from {', '.join(RULES)}"
            raise ConfigError(f"there is no rule {unknown[0]}", f"{WHERE}.clean", do)
        if self.keep < 0:
            raise ConfigError(f"keep={self.keep}", f"{WHERE}.keep", "give 0 or more")
        if not 0 <= self.dropout <= 1:
            raise ConfigError(f"dropout={self.dropout}", f"{WHERE}.dropout", "give a probability, 0 to 1")

    @property
    def tagged(self) -> bool:
        """True where a caption is a list of tags."""
        return self.shuffle or self.dropout > 0

    def read(self, written: Iterable[str]) -> tuple[str, ...]:
        """Return the captions that were written for one image, cleaned; at least one, which may be empty.
        Raises ConfigError where ftfy is to be used and not installed.
        """
        texts = [line for text in written for line in text.split("\n")] if self.lines else written
        several = tuple(cleaned(text, self.clean) for text in texts)
        some = tuple(text for text in several if text.strip())
        return some or several[:1] or ("",)

    def whole(self, text: str) -> str:
        """Return a caption as validation sees it."""
        return self.prefix + (", ".join(_tags(text)) if self.tagged else text) + self.suffix

    def drawn(self, texts: Sequence[str], seed: int, epoch: int, index: Tensor) -> list[str]:
        """Return captions as training sees them, for the images of these numbers, int64 (B,), of a split."""
        if not self.tagged:
            return [self.whole(text) for text in texts]
        several = [_tags(text) for text in texts]
        numbers = zip(index.tolist(), several, strict=True)
        place = torch.tensor([(i << 20) + k for i, tags in numbers for k in range(len(tags))]).long()
        draws = zip(
            keys(seed, "tag", epoch, index=place).tolist(),
            keys(seed, "tag order", epoch, index=place).tolist(),
            strict=True,
        )
        return [self._some(tags, list(islice(draws, len(tags)))) for tags in several]

    def _some(self, tags: Sequence[str], draws: Sequence[tuple[int, int]]) -> str:
        """Return the tags that are left, in their new order. draws: two numbers below 2^63 for each."""
        kept, least = tags[: self.keep], self.dropout * 2**63
        others = list(zip(tags, draws, strict=True))[self.keep :]
        left = [(order, tag) for tag, (draw, order) in others if draw >= least]
        left = sorted(left) if self.shuffle else left
        return self.prefix + ", ".join([*kept, *(tag for _, tag in left)]) + self.suffix


def _tags(text: str) -> list[str]:
    return [tag for part in text.split(",") if (tag := part.strip())]


AS_WRITTEN = Captions()
GIVE = "write a.txt beside a.png, for each, or a line with file_name and text in metadata.jsonl"
"""How pictures get captions."""


class Texts:
    """The captions of a split. given: the first one of each image, cleaned; others: those beside it, by the
    number of the image.
    """

    def __init__(
        self,
        given: Sequence[str],
        others: Mapping[int, Sequence[str]] | None = None,
        options: Captions = AS_WRITTEN,
    ) -> None:
        self.given: Sequence[str] = list(given)
        self.options = options
        self.others = {i: tuple(texts) for i, texts in sorted((others or {}).items()) if texts}
        neutral = options == AS_WRITTEN
        self.first: Sequence[str] = self.given if neutral else [options.whole(text) for text in self.given]
        """What validation sees."""

    @staticmethod
    def of(several: Iterable[Sequence[str]], options: Captions = AS_WRITTEN) -> "Texts":
        """Return the captions of images of which each has one or several. Raises ConfigError."""
        read = [options.read(written) for written in several]
        return Texts([r[0] for r in read], {i: r[1:] for i, r in enumerate(read)}, options)

    def __len__(self) -> int:
        return len(self.given)

    def __getitem__(self, i: int) -> tuple[str, ...]:
        """Return all captions of an image, as they were read."""
        return self.given[i], *self.others.get(i, ())

    @property
    def varies(self) -> bool:
        """True where training sees other captions than validation."""
        return bool(self.others) or self.options.tagged

    def select(self, index: Tensor) -> "Texts":
        """Return the captions of these images, int64 (N,)."""
        numbers = index.tolist()
        others = {place: self.others[i] for place, i in enumerate(numbers) if i in self.others}
        return Texts([self.given[int(i)] for i in numbers], others, self.options)

    def drawn(self, seed: int, epoch: int, index: Tensor) -> list[str]:
        """Return what training sees of these images, int64 (B,), in this epoch."""
        if not self.varies:
            return [self.first[int(i)] for i in index.tolist()]
        which = keys(seed, "caption", epoch, index=index).tolist()
        some = [(self[i], draw) for i, draw in zip(index.tolist(), which, strict=True)]
        return self.shown([texts[n % len(texts)] for texts, n in some], seed, epoch, index)

    def shown(self, texts: Sequence[str], seed: int, epoch: int, index: Tensor) -> list[str]:
        """Return what the options make of these captions, of the images of these numbers, int64 (B,)."""
        return self.options.drawn(texts, seed, epoch, index)

    def every(self) -> Sequence[str]:
        """Return every caption that training may draw, whole: of them a vocabulary is made."""
        others = (self.options.whole(text) for texts in self.others.values() for text in texts)
        return [*self.first, *others]

    def update(self, digest: "hashlib._Hash") -> None:
        """Put what validation sees, and all other captions, into a digest."""
        digest.update("".join(f"\n{text}" for text in self.first).encode(errors="surrogatepass"))
        for i, texts in self.others.items():
            shown = "".join(f"\n{self.options.whole(text)}" for text in texts)
            digest.update(f"\0{i}{shown}".encode(errors="surrogatepass"))


def texts_or_none(texts: "Sequence[str] | Texts | None") -> Texts | None:
    """Return captions as `Texts`, where there are some."""
    return texts if texts is None or isinstance(texts, Texts) else Texts(texts)
