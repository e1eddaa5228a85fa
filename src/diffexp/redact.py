"""Secrets are written nowhere: not into files, tables, reports or trackers.

A secret is what stands under a key such as api_key, token or password, whatever its type, and the user and
password of a URL.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

HIDDEN = "***"
_WHOLE = {"key", "apikey", "token", "auth", "pwd", "pw", "credentials", "credential"}
_PART = ("secret", "password", "passwd", "passphrase")
_PAIRS = re.compile(r"(api|access|auth|private|signing|encryption|bearer)_?(key|token)s?$")
_USER = re.compile(r"([a-zA-Z][\w+.-]*://)[^\s/@'\"]+@")
_INSIDE = re.compile(r"""(['"]?)([\w.-]+)\1\s*:\s*""")


def secret(key: object) -> bool:
    """Whether what stands under this key is not to be written: api_key, WANDB_TOKEN, dbPassword, key."""
    last = str(key).rpartition(".")[2]
    words = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", last).lower().replace("-", "_")
    whole = words.rpartition("_")[2] in _WHOLE
    return whole or any(part in words for part in _PART) or bool(_PAIRS.search(words))


def redact(node: Any) -> Any:
    """Return plain values without their secrets."""
    if isinstance(node, Mapping):
        return {k: _hidden(v) if secret(k) else redact(v) for k, v in node.items()}
    if isinstance(node, (list, tuple)):
        return [redact(v) for v in node]
    return redact_text(node) if isinstance(node, str) else node


def _hidden(value: Any) -> Any:
    return value if value is None or value == "" or isinstance(value, bool) else HIDDEN


def redact_text(text: str) -> str:
    """Return text without the user and password of its URLs."""
    return _USER.sub(rf"\1{HIDDEN}@", text)


def redact_typed(typed: Sequence[str]) -> list[str]:
    """Return key=value without the values of secrets, also of those inside {key: value}."""
    return [_typed(text) for text in typed]


def _typed(text: str) -> str:
    key, equal, value = text.partition("=")
    if equal and secret(key.lstrip("+~-")):
        return f"{key}={HIDDEN}"
    if any(secret(found[2]) for found in _INSIDE.finditer(value)):
        return f"{key}={HIDDEN}"  # of its parts: where they end is for a parser to say
    return redact_text(text)
