"""The captions of images, and what training draws of them: a function of (seed, epoch, index), as flips are,
so a run that goes on and any number of ranks see the same. Validation and evaluation see the first caption
of each image, whole.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

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
        """Whether a caption is a list of tags."""
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

    def drawn(self, text: str, seed: int, epoch: int, index: int) -> str:
        """Return a caption as training sees it, for the image of that number in its split."""
        if not self.tagged:
            return self.whole(text)
        tags = _tags(text)
        kept, others = tags[: self.keep], tags[self.keep :]
        number = torch.arange(len(others))
        if self.dropout > 0:
            draws = keys(seed, "tag", epoch, index, index=number).tolist()
            others = [tag for tag, draw in zip(others, draws, strict=True) if draw >= self.dropout * 2**63]
        if self.shuffle:
            order = keys(seed, "tag order", epoch, index, index=number[: len(others)]).argsort(stable=True)
            others = [others[i] for i in order.tolist()]
        return self.prefix + ", ".join([*kept, *others]) + self.suffix


def _tags(text: str) -> list[str]:
    return [tag for part in text.split(",") if (tag := part.strip())]


AS_WRITTEN = Captions()


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
        self.given, self.options = list(given), options
        self.others = {i: tuple(texts) for i, texts in sorted((others or {}).items()) if texts}
        neutral = options == AS_WRITTEN
        self.first = self.given if neutral else [options.whole(text) for text in self.given]
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
        """Whether training sees another caption than validation."""
        return bool(self.others) or self.options.tagged

    def select(self, index: Tensor) -> "Texts":
        """Return the captions of these images, int64 (N,)."""
        numbers = index.tolist()
        others = {place: self.others[i] for place, i in enumerate(numbers) if i in self.others}
        return Texts([self.given[i] for i in numbers], others, self.options)

    def drawn(self, seed: int, epoch: int, index: Tensor) -> list[str]:
        """Return what training sees of these images, int64 (B,), in this epoch."""
        if not self.varies:
            return [self.first[i] for i in index.tolist()]
        which = keys(seed, "caption", epoch, index=index).tolist()
        several = [(i, self[i], draw) for i, draw in zip(index.tolist(), which, strict=True)]
        return [self.options.drawn(texts[draw % len(texts)], seed, epoch, i) for i, texts, draw in several]

    def every(self) -> list[str]:
        """Return every caption that training may draw, each once, whole: of them a vocabulary is made."""
        others = (self.options.whole(text) for texts in self.others.values() for text in texts)
        return list(dict.fromkeys([*self.first, *others]))

    def update(self, digest: "hashlib._Hash") -> None:
        """Put what validation sees, and all other captions, into a digest."""
        digest.update("".join(f"\n{text}" for text in self.first).encode(errors="surrogatepass"))
        for i, texts in self.others.items():
            shown = "".join(f"\n{self.options.whole(text)}" for text in texts)
            digest.update(f"\0{i}{shown}".encode(errors="surrogatepass"))


def texts_or_none(texts: "Sequence[str] | Texts | None") -> Texts | None:
    """Return captions as `Texts`, where there are some."""
    return texts if texts is None or isinstance(texts, Texts) else Texts(texts)
