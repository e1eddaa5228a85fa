"""A filter over rows of values, as it is typed: schedule=cosine and fid<10.

    filter      either {or either},   either = one {and one},   one = [not] comparison | [not] ( filter )
    comparison  KEY = != < <= > >= VALUE, or KEY in [VALUE, ...]
    VALUE       null, true, false, a number, or a text, in quotes where it is more than one word

A key that a row lacks is null there. Numbers are compared as numbers and texts as texts; what is of another
kind is unequal, and neither less nor more. Nothing of it is evaluated by Python.
"""

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from diffexp.errors import ConfigError

WHERE = "task.where"
Value = str | float | bool | None
Row = Mapping[str, Any]
Holds = Callable[[Row], bool]
_TOKEN = re.compile(
    r"\s*(?:(?P<text>'[^']*'|\"[^\"]*\")|(?P<sign>!=|<=|>=|==|[=<>()\[\],])|(?P<word>[^\s=<>!()\[\],'\"]+))"
)
_ORDER: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
_SIGNS = ("=", "==", "!=", *_ORDER)
_NULL = ("null", "None", "none")
_DEEPEST = 50
_CURLY = "\u201c\u201d\u201e\u2018\u2019\u201a\u00ab\u00bb"


@dataclass(frozen=True)
class Filter:
    """holds: whether a row is one that was asked for; keys: those that it asks about, as they were typed."""

    holds: Holds
    keys: tuple[str, ...]


def filter_of(text: str, key_of: Callable[[str], str] = lambda key: key) -> Filter:
    """Return the filter that a text says; "" for one that all rows pass. key_of: the key that a typed one
    means, or ConfigError. Raises ConfigError for what is none, with the place.
    """
    if not text.strip():
        return Filter(lambda row: True, ())
    reader = _Reader(_tokens(text), key_of, text)
    holds = reader.either()
    if reader.left:
        raise reader.wrong("and, or, or the end")
    return Filter(holds, tuple(dict.fromkeys(reader.keys)))


def value_of(word: str) -> Value:
    """Return the value of a word without quotes: null, true, false, a number, or the word."""
    if word in _NULL:
        return None
    if word in ("true", "false"):
        return word == "true"
    try:
        return float(word)
    except ValueError:
        return word


def equal(a: object, b: object) -> bool:
    """Return whether two values are of one kind and equal; of the text of a list blanks do not count."""
    if isinstance(a, bool) or isinstance(b, bool) or a is None or b is None:
        return type(a) is type(b) and a == b
    if isinstance(a, (int, float)) and isinstance(b, (int, float)):
        return a == b
    if not isinstance(a, str) or not isinstance(b, str):
        return False
    return a == b or (a[:1] == "[" and a.replace(" ", "") == b.replace(" ", ""))


def comparable(a: object, b: object) -> bool:
    """Return whether one of two values can be less than the other: both are numbers, or both texts."""
    kinds = [str if isinstance(v, str) else float if _number(v) else None for v in (a, b)]
    return kinds[0] is kinds[1] and kinds[0] is not None


def _number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _tokens(text: str) -> list[tuple[str, str]]:
    tokens, at, text = list[tuple[str, str]](), 0, text.rstrip()
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise ConfigError(f"task.where cannot be read from {text[at:][:40]!r} on", WHERE, _do())
        kind, token = str(match.lastgroup), match[str(match.lastgroup)]
        if kind == "word" and (token[0] in _CURLY or token[-1] in _CURLY):
            what = f"{token[:40]} has typographic quotes, which are part of the text"
            raise ConfigError(f"task.where: {what}", WHERE, "type ' or \" in their place")
        tokens.append((kind, token))
        at = match.end()
    return tokens


def _do() -> str:
    return "write it as 'schedule=cosine and fid_digits64<10' (docs/query.md)"


class _Reader:
    """Reads tokens, (kind, text), from the first to the last."""

    def __init__(self, tokens: Sequence[tuple[str, str]], key_of: Callable[[str], str], text: str) -> None:
        self.left, self.key_of, self.text = list(tokens), key_of, text
        self.keys = list[str]()
        self._deep = 0

    def wrong(self, wanted: str) -> ConfigError:
        """Return the error for the next token."""
        here = f"at {self.left[0][1]!r}" if self.left else "at its end"
        return ConfigError(f"task.where={self.text[:200]} lacks {wanted} {here}", WHERE, _do())

    def _next(self, *texts: str) -> bool:
        """Take the next token if it is a sign or a word of these."""
        if self.left and self.left[0][0] != "text" and self.left[0][1] in texts:
            self.left.pop(0)
            return True
        return False

    def either(self) -> Holds:
        """filter"""
        parts = [self._both()]
        while self._next("or"):
            parts.append(self._both())
        return lambda row: any(part(row) for part in parts)

    def _both(self) -> Holds:
        parts = [self._one()]
        while self._next("and"):
            parts.append(self._one())
        return lambda row: all(part(row) for part in parts)

    def _one(self) -> Holds:
        self._deep += 1
        if self._deep > _DEEPEST:
            raise ConfigError("task.where is nested too deep", WHERE, "ask for less")
        try:
            if self._next("not"):
                inner = self._one()
                return lambda row: not inner(row)
            if self._next("("):
                inner = self.either()
                if not self._next(")"):
                    raise self.wrong(")")
                return inner
            return self._comparison()
        finally:
            self._deep -= 1

    def _comparison(self) -> Holds:
        if not self.left or self.left[0][0] == "sign":
            raise self.wrong("a key")
        typed = self.left.pop(0)[1].strip("'\"")
        key = self.key_of(typed)
        self.keys.append(key)
        if self._next("in"):
            values = self._list()
            return lambda row: any(equal(row.get(key), value) for value in values)
        sign = next((sign for sign in _SIGNS if self._next(sign)), None)
        if sign is None:
            raise self.wrong(f"one of {' '.join(_SIGNS[:1] + _SIGNS[2:])} or in, after {typed},")
        value = self._value()
        if sign in _ORDER:
            order = _ORDER[sign]
            return lambda row: comparable(row.get(key), value) and order(row[key], value)
        return lambda row: equal(row.get(key), value) == (sign != "!=")

    def _list(self) -> list[Value]:
        if not self._next("["):
            raise self.wrong("[")
        values = [self._value()]
        while self._next(","):
            values.append(self._value())
        if not self._next("]"):
            raise self.wrong(", or ]")
        return values

    def _value(self) -> Value:
        if not self.left or self.left[0][0] == "sign":
            raise self.wrong("a value")
        kind, text = self.left.pop(0)
        return text[1:-1] if kind == "text" else value_of(text)
