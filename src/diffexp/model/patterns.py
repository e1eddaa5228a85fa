"""Names of weights and layers by patterns of a shell: "down.*", "*.qkv"."""

import difflib
from collections.abc import Sequence
from fnmatch import fnmatchcase

from diffexp.errors import ConfigError

MOST, LONGEST = 1000, 500  # patterns, and letters of one: a checkpoint may be a stranger's
_NETWORK = "denoiser.network."


def short(name: str) -> str:
    """Return the name of a weight or layer as people type it: that in the network, or in the model."""
    return name.removeprefix(_NETWORK)


def matching(patterns: Sequence[str], names: Sequence[str]) -> list[str]:
    """Return the names that any of the patterns names, as they are in the model or in the network."""
    return [n for n in names if any(fnmatchcase(n, p) or fnmatchcase(short(n), p) for p in patterns)]


def named(pattern: str, names: Sequence[str], where: str) -> list[str]:
    """Return the names that a pattern names. Raises ConfigError, with others like it, for none."""
    if made := matching([pattern], names):
        return made
    raise ConfigError(f"{pattern} names nothing here", where, near([pattern], names))


def near(patterns: Sequence[str], names: Sequence[str]) -> str:
    """Return what to type in place of patterns that name nothing."""
    whole = {short(name): short(name) for name in names}
    ends = {name.split(".")[-1]: name.split(".")[-1] for name in whole}
    firsts = {part: f"{part}.*" for name in whole if (part := name.split(".")[0]) != name}
    inner = {part: f"*.{part}.*" for name in whole for part in name.split(".")[1:-1] if not part.isdecimal()}
    known = inner | firsts | ends | whole
    close = [
        known[name]
        for p in patterns
        for name in difflib.get_close_matches(p.strip("*."), list(known), n=3, cutoff=0.5)
    ]
    shown = list(dict.fromkeys(close)) or [f"*.{end}" for end in ends]
    return f"there are {', '.join(shown[:8])}" if shown else "there is nothing to name"


def check_patterns(patterns: Sequence[str], where: str) -> None:
    """Raise ConfigError for more or longer patterns than anybody types."""
    if len(patterns) > MOST or any(len(p) > LONGEST for p in patterns):
        raise ConfigError("these are too many, or too long, patterns", where, "give a few: [*.qkv,*.proj]")
