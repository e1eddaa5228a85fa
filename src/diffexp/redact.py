"""Secrets are written nowhere: not into files, tables, reports, messages or trackers.

A secret is what stands under a key such as api_key, token or password, whatever its type; the user and
password of an address; and what follows `token=` or `--api-key=` in a text.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

HIDDEN = "***"
_WEAK = {"key", "keys", "apikey", "token", "tokens", "auth", "pwd", "pw"}
"""Last words of names that may hold a secret, or be an argument of a network: small numbers are none."""
_SMALL = 10_000
_STRONG = re.compile(
    r"secret|passw|passphrase|passcode|credential|authorization|cookie"
    r"|bearer|auth_?header|(api|access|auth|private|signing|encryption|bearer|client|session)_?(key|token)"
)
_USER = (
    (re.compile(r"(//)[^\s/@:'\"<>]+:[^\s'\"<>]*@"), rf"\1{HIDDEN}@"),  # a password may hold / and @
    (re.compile(r"(//)[^\s/@'\"<>]+@"), rf"\1{HIDDEN}@"),
    (re.compile(r"(?<![\w/:@.])([\w.+-]+):[^\s/:@'\"<>]+@(?=[\w-]+\.)"), rf"\1:{HIDDEN}@"),
)
_BEARER = re.compile(r"\b(bearer|basic)(\s+)[^\s'\"]+", re.IGNORECASE)
_GIVEN = re.compile(r"(?<![\w.])([-?&]*)([A-Za-z][\w-]*\\?)=([^\s&'\",;}\]]+)")
_NAME = re.compile(r"\s*(['\"]?)([^'\"{}\[\],:]+)\1\s*:")


def strong(key: object) -> bool:
    """Return whether any value under this key is a secret: api_key, dbPassword, client_secret."""
    return bool(_STRONG.search(_words(key)))


def secret(key: object) -> bool:
    """Return whether the value under this key may be a secret: as `strong`, and key, hf_token, auth."""
    last = re.sub(r"[_\d]+$", "", _words(key)).rpartition("_")[2]
    return last in _WEAK or strong(key)


def _words(key: object) -> str:
    return re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", str(key)).lower().replace("-", "_").replace(" ", "_")


def redact(node: Any) -> Any:
    """Return plain values without their secrets."""
    if isinstance(node, Mapping):
        return {k: _hidden(v, k) if secret(k) else redact(v) for k, v in node.items()}
    if isinstance(node, (list, tuple)):
        return [redact(v) for v in node]
    return redact_text(node) if isinstance(node, str) else node


def _hidden(value: Any, key: object) -> Any:
    if value is None or value == "" or isinstance(value, bool):
        return value
    return value if not strong(key) and _small(value) else HIDDEN


def _small(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(map(_small, value))
    return isinstance(value, (int, float)) and abs(value) < _SMALL


def redact_text(text: str) -> str:
    """Return text without the users and passwords of addresses, and without what is given as token=..."""
    for pattern, shown in _USER:
        text = pattern.sub(shown, text)
    return _GIVEN.sub(_given, _BEARER.sub(rf"\1\2{HIDDEN}", text))


def _given(match: re.Match[str]) -> str:
    """Hide a given value. A message "type key=value" holds no secret; the ?key=... of an address does."""
    before, name, _ = match.groups()  # where Hydra composes a line it writes \\= for =
    known = secret(name.rstrip("\\")) and (before or name != "key")
    return f"{before}{name}={HIDDEN}" if known else match[0]


def redact_typed(typed: Sequence[str]) -> list[str]:
    """Return key=value without the values of secrets, also of those inside {key: value}."""
    return [_typed(text) for text in typed]


def _typed(text: str) -> str:
    key, equal, value = text.partition("=")
    if not equal:
        return redact_text(text)
    names = [part for part in key.lstrip("+~-").split(".") if secret(part)]
    if names:
        small = not any(map(strong, names)) and re.fullmatch(r"-?\d{1,4}", value)
        return text if small or value in ("", "true", "false", "null") else f"{key}={HIDDEN}"
    return f"{key}={redact_text(_pairs(value) if value.lstrip()[:1] in ('{', '[') else value)}"


def _pairs(text: str) -> str:
    """Hide each value of a secret in a typed {key: value}, up to where it ends."""
    out, i = "", 0
    while i < len(text):
        match = _NAME.match(text, i) if i and text[i - 1] in "{," else None
        if match and secret(match[2].strip()):
            end = _end(text, match.end())
            out, i = f"{out}{match[0]} {HIDDEN}", end
        else:
            out, i = out + text[i], i + 1
    return out


def _end(text: str, start: int) -> int:
    """Return where a value ends that begins at `start`: before the comma or bracket that is not its own."""
    depth, quote = 0, ""
    for i in range(start, len(text)):
        letter = text[i]
        if quote:
            quote = "" if letter == quote and text[i - 1] != "\\" else quote
        elif letter in "'\"":
            quote = letter
        elif letter in "{[(":
            depth += 1
        elif (letter in "}])" and depth == 0) or (letter == "," and depth == 0):
            return i
        elif letter in "}])":
            depth -= 1
    return len(text)
