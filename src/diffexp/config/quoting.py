"""Paths on the command line, as people type them: Hydra's grammar knows no ~, no é, no (1) in a name."""

from collections.abc import Sequence
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

PATHS = ("path", "test_path", "ckpt", "images", "init", "dir", "resume", "weights", "model", "statistics")
"""The last words of keys whose values are paths."""
TEXTS = ("where",)
"""Those of keys whose values are one text, whatever is in it."""
_NOTHING = object()


def quoted(typed: Sequence[str]) -> list[str]:
    """Return what was typed, with quotes around a value that Hydra could not read without, and around a path
    that it would take for a number or for several values, or a text that is one whatever is in it.

    What is wrong all the same, has quotes or brackets of its own, or may be several values, stays as it is.
    """
    parser = OverridesParser.create()
    return [_quoted(text, parser) for text in typed]


def _quoted(text: str, parser: OverridesParser) -> str:
    key, equals, value = text.partition("=")
    if text.startswith("-") or not equals or value[:1] in ("", "'", '"'):
        return text
    with_quotes = f"{key}='{_escaped(value)}'"
    read = _read(text, parser)
    if read == value or _read(with_quotes, parser) != value:
        return text
    if (
        _is_path(key, value)
        or _last(key) in TEXTS
        or (read is _NOTHING and value[0] not in "[{" and "," not in value)
    ):
        return with_quotes
    return text


def _escaped(value: str) -> str:
    """Escape as Hydra wants it: backslashes only where they stand before a quote, or at the end."""
    return value.replace("\\'", "\\\\'").replace("'", "\\'")


def _is_path(key: str, value: str) -> bool:
    """Return whether a path is wanted, and there is one of that name."""
    if _last(key) not in PATHS:
        return False
    try:
        return Path(value).expanduser().exists()
    except (OSError, ValueError, RuntimeError):
        return False


def _last(key: str) -> str:
    return key.rpartition(".")[2]


def _read(text: str, parser: OverridesParser) -> object:
    """Return the value that Hydra reads, _NOTHING where it reads none."""
    try:
        return parser.parse_override(text).value()
    except HydraException:
        return _NOTHING
