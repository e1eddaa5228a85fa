"""Textual inversion: a new word, whose vectors alone are trained (Gal et al. 2022)."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from diffexp.archive import is_dict
from diffexp.conditioning.encoders import TextEncoder
from diffexp.conditioning.encoders.concepts import MOST, MOST_VECTORS, is_word, pattern_of
from diffexp.config.suggest import override
from diffexp.errors import ConfigError, DataError, check_at_most
from diffexp.model.model import Model
from diffexp.model.trainable import Stored

_A1111, _BASE = "emb_params", "diffexp_base"


@dataclass(frozen=True)
class Concept(Stored):
    """A word that the base does not know, in captions of the training images: its vectors are trained, and
    all else stays as it is.

    init: the word, or the words in turn, whose vectors it begins with; None for the mean of all. vectors: how
    many stand for it in a caption. keep_norm: each has the length of the vocabulary's vectors, on average.
    base: where the run of init= lies now; "any" to go on with another.
    """

    word: str
    init: str | Sequence[str] | None = None
    vectors: int = 1
    keep_norm: bool = False
    base: str | None = None
    needs_base: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not is_word(self.word):
            do = "give letters or signs without blanks and points, e.g. <thing>"
            raise ConfigError(f"word={str(self.word)!r:.60}", "tune.word", do)
        if not (self.init is None or isinstance(self.init, str)):
            do = f"type {override('tune.init', ' '.join(map(str, self.init)))}, with quotes for the shell"
            raise ConfigError(f"init={list(self.init)!r:.60}", "tune.init", do)
        if self.vectors < 1:
            raise ConfigError(f"vectors={self.vectors}", "tune.vectors", "give 1 or more")
        check_at_most(MOST_VECTORS, "tune", vectors=self.vectors)

    def apply(self, model: Model, empty: bool = False) -> str:
        encoder = text_encoder_of(model, "tune=concept")
        check_new(encoder, self.word)
        begin = self._begin(encoder)
        if begin is None or empty:
            begin = torch.zeros(self.vectors, encoder.width)
        encoder.concepts.add(self.word, begin, norm_of(encoder) if self.keep_norm else None, tuned=True)
        model.note()
        some = "a vector" if self.vectors == 1 else f"{self.vectors} vectors"
        return f"Concept: {self.word} is learned, {some} of {encoder.width} numbers"

    def _begin(self, encoder: TextEncoder) -> Tensor | None:
        """Return the vectors that it begins with, (V, width); None where the encoder is not loaded yet.
        Raises ConfigError for words that it does not know.
        """
        rows = _known(encoder, self.init) if isinstance(self.init, str) else None
        table = encoder.embeddings()
        if table is None:
            return None
        some = table.detach().mean(0, keepdim=True) if rows is None else table.detach()[rows]
        return some[torch.arange(self.vectors) % len(some)].float().clone()

    def check_captions(self, model: Model, texts: Sequence[str] | None) -> str | None:
        """Return a line where captions of the training images are cut. Raises ConfigError where none has the
        word where it is read.
        """
        encoder = text_encoder_of(model, "tune=concept")
        word = pattern_of([self.word])
        having = {text: text[: match.end()] for text in texts or () if (match := word.search(text))}
        if not having:
            what = f"no caption of the training images has the word {self.word}"
            do = f"write it into them, or before them: 'data.caption.prefix=\"{self.word} \"'"
            raise ConfigError(what, "tune.word", do)
        lengths, room = encoder.lengths(list(having)), encoder.room
        cut = sum(length > room for length in lengths)
        if min(encoder.lengths(list(having.values()))) > room:
            what = (
                f"{self.word}, of vectors={self.vectors}, is cut off in each caption: {room} {encoder.piece}"
            )
            raise ConfigError(f"{what} are read", "tune.vectors", "give fewer, or shorter captions")
        if not cut:
            return None
        shown = f"{room} {encoder.piece} are read, and the longest has {max(lengths):,}"
        return f"{cut:,} of {len(having):,} captions with {self.word} are cut: {shown}"


def text_encoder_of(model: Model, where: str) -> TextEncoder:
    """Return the text encoder of a model. Raises ConfigError for one that learns no words."""
    encoder = getattr(model.conditioning, "encoder", None)
    if not isinstance(encoder, TextEncoder):
        do = "take a run of conditioning=text or class_text"
        raise ConfigError("the model reads no captions, and knows no words", where, do)
    if not encoder.learns:
        what = f"{type(encoder).__name__} is a text encoder that learns no word"
        raise ConfigError(what, where, "take a run of text_encoder=words, bytes or transformers")
    return encoder


def check_new(encoder: TextEncoder, word: str, where: str = "tune.word") -> None:
    """Raise ConfigError for a word that the encoder knows."""
    if encoder.concepts.within(word) or (len(encoder.ids(word)) == 1 and not encoder.unknown([word])):
        do = f"give another, e.g. <{word.strip('<>')}-2>"
        raise ConfigError(f"{word} is a word that the base knows", where, do)


def _known(encoder: TextEncoder, text: str) -> list[int]:
    unknown = encoder.unknown([text])
    rows = encoder.ids(text)
    if unknown or not rows:
        said = [f"{word} (nearest: {near})" if near else word for word, near in unknown.items()]
        what = f"init={text!r:.60}: the base does not know {', '.join(said) or 'any word of it'}"
        do = "give a word of the captions that it was trained with"
        if unknown and all(unknown.values()):
            words = (unknown.get(word) or word for word in text.split())
            do = f"type {override('tune.init', ' '.join(words))}"
        raise ConfigError(what, "tune.init", f"{do}, or null for the mean of all words")
    return rows


def norm_of(encoder: TextEncoder) -> float | None:
    """Return the mean length of the vectors of a vocabulary, None where they are not loaded yet."""
    table = encoder.embeddings()
    return None if table is None else float(table.detach().double().norm(dim=1).mean())


def add_word(model: Model, word: str, vectors: Tensor, keep_norm: bool, path: Path) -> None:
    """Add a word with its vectors, (V, width), to a model. Raises DataError."""
    where, do = str(path), "give a word of a model with the same text encoder"
    try:
        encoder = text_encoder_of(model, where)
        check_new(encoder, word, where)
    except ConfigError as error:
        raise DataError(error.what, where, do) from error
    if vectors.shape[1] != encoder.width:
        what = (
            f"{word} has vectors of {vectors.shape[1]} numbers, and those of the model have {encoder.width}"
        )
        raise DataError(what, where, do)
    if not vectors.isfinite().all():
        raise DataError(f"{word} has vectors that are not finite", where, "use another file of it")
    encoder.concepts.add(word, vectors.float(), norm_of(encoder) if keep_norm else None)


def words_of_file(state: Mapping[str, Any], path: Path) -> dict[str, Tensor] | None:
    """Return the words of a file as diffusers and A1111 write them, and their vectors, (V, width); None for
    a file of something else. A file of A1111 has the name of its word.
    """
    if list(state) == [_A1111]:
        state = {path.stem: state[_A1111]}
    if not 0 < len(state) <= MOST or not all(is_word(name) and _is_vectors(v) for name, v in state.items()):
        return None
    return {name: v[None] if v.ndim == 1 else v for name, v in state.items()}


def _is_vectors(value: object) -> bool:
    return (
        isinstance(value, Tensor)
        and value.ndim in (1, 2)
        and value.is_floating_point()
        and 0 < value.numel() <= MOST_VECTORS * value.shape[-1]
    )


def metadata_of(base: Mapping[str, str]) -> dict[str, str]:
    """Return what the file of a word says of the weights that it was learned on."""
    return {_BASE: json.dumps(dict(base))}


def base_said(metadata: Mapping[str, str]) -> dict[str, str] | None:
    """Return the digests that `metadata_of` has written, None where a file says none."""
    try:
        base: Any = json.loads(metadata.get(_BASE, "null"))
    except ValueError:
        return None
    return base if is_dict(base) and all(isinstance(v, str) for v in base.values()) else None
