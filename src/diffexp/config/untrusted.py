"""Reading YAML that may be a stranger's: no tags, no bombs, and of a run's command line only what is data."""

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from diffexp.config.catalogue import conf_folder
from diffexp.config.suggest import override
from diffexp.config.untrusted_paths import WRITTEN, names_a_path
from diffexp.errors import DataError
from diffexp.files import read_small
from diffexp.notice import warn

MOST_BYTES, MOST_NODES, DEEPEST = 4 << 20, 200_000, 100
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's is six times as fast
_LONG_NUMBER = re.compile(r"[-+]?[\d_:.]{1000,}")


def read_yaml(path: Path) -> Any:
    """Read plain values. Raises DataError for what is too large, also by aliases of aliases, or no plain
    YAML; OSError where there is no such file.
    """
    content = read_small(path, MOST_BYTES)
    try:
        text = content.decode("utf-8")
        _refuse_bombs(text)
        loader = _LOADER(text)
        root = loader.get_single_node()
        if root is not None and _size(root, {}) > MOST_NODES:
            what = f"this file stands for more than {MOST_NODES:,} values, by aliases of aliases"
            raise DataError(what, str(path), "use the folder of a run of diffexp")
        return None if root is None else loader.construct_document(root)
    except (yaml.YAMLError, ValueError, TypeError, ArithmeticError, RecursionError) as error:
        first = (str(error) or type(error).__name__).splitlines()[0][:200]
        raise DataError(f"this is no plain YAML: {first}", str(path), "use a run of diffexp") from error


def _refuse_bombs(text: str) -> None:
    """Raise ValueError for too many values, for such too deep inside others, which libyaml composes by
    recursion until the stack overflows, and for 1:1:1..., a number to base 60 that takes for ever. Events
    come one by one.
    """
    loader, deep, count = _LOADER(text), 0, 0
    while loader.check_event():
        event, count = loader.get_event(), count + 1
        deep += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if deep > DEEPEST or count > 2 * MOST_NODES:
            raise ValueError(f"it is nested deeper than {DEEPEST}, or has more than {MOST_NODES:,} values")
        if isinstance(event, yaml.ScalarEvent) and _LONG_NUMBER.fullmatch(event.value):
            raise ValueError("it has a number of more than 1,000 signs")


def _size(node: yaml.Node, known: dict[int, int]) -> int:
    """Count the values that a node stands for; one that is met again counts, and is not walked, again."""
    if id(node) not in known:
        known[id(node)] = 1  # one that holds itself
        parts: Iterator[yaml.Node] = iter(())
        if isinstance(node, yaml.MappingNode):
            parts = (part for pair in node.value for part in pair)
        elif isinstance(node, yaml.SequenceNode):
            parts = iter(node.value)
        known[id(node)] = 1 + sum(_size(part, known) for part in parts)
    return known[id(node)]


def typed_before(folder: Path, plugins: bool = False) -> list[str]:
    """Return what was typed for a run, from its overrides.yaml, as key=value that Hydra reads as such.

    A line that would be a flag of Hydra, sweep, reach Hydra's own configuration, run code of others or read
    the environment is refused by a DataError; one that says where to write is left out, and that is said.
    Raises OSError where there is no such file. plugins: whether the user has typed them again.
    """
    path = folder / "overrides.yaml"
    lines = read_yaml(path)
    if not isinstance(lines, list) or not all(isinstance(t, str) for t in lines):
        raise DataError("this is no list of overrides", str(path), "use the folder of a run of diffexp")
    kept = []
    for text in lines:
        override = _parsed(text, path)
        key, value = override.key_or_group, override.value()
        if fault := _fault(text, key, value, plugins):
            do = "type what you want of it yourself, with dir=... in place of resume=..."
            if key == "plugins":
                do = f"if you trust these packages, type {text[:80]} beside resume=..."
            raise DataError(f"{text[:80]} is not taken from a run folder{fault}", str(path), do)
        where = [*key.split("."), *(part for part, _ in _parts(value))]
        if key != "dir" and any(part in WRITTEN for part in where):
            warn(f"{text[:200]} is not taken from {path}: to write there, type it beside resume=...")
            continue
        named = [v for k, v in _parts(value) if names_a_path(v) or (k or key.rpartition(".")[2]) == "model"]
        if key.startswith("logger.") or (named and key not in ("dir", "name")):
            warn(f"using {text[:200]}, which {path} names")
        kept.append(text)
    return kept


def _parsed(text: str, path: Path) -> Any:
    """Parse one override. Raises DataError for what is none, or stands for several."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        made = OverridesParser.create().parse_override(text)
        sweep = made.is_sweep_override()
    except (HydraException, ValueError, RecursionError) as error:
        first = (str(error) or type(error).__name__).splitlines()[0]
        do = "mend the line, or type dir=... in place of resume=..."
        raise DataError(f"{text[:80]!r} is no override: {first[:120]}", str(path), do) from error
    if sweep or not re.match(r"(\+\+|[+~])?\w", text):
        do = "type dir=... in place of resume=..."
        raise DataError(f"{text[:80]} is not taken from a run folder: it is not one value", str(path), do)
    return made


def _parts(value: Any) -> Iterator[tuple[str, str]]:
    """Yield (key, text) of each text in a value; the key is "" where it has none of its own."""
    if isinstance(value, Mapping):
        for key, part in value.items():
            yield str(key), ""
            yield from ((k or str(key), v) for k, v in _parts(part))
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from _parts(part)
    elif value is not None:
        yield "", str(value)


def _fault(text: str, key: str, value: Any, plugins: bool) -> str:
    """Return why a line is not taken, "" for one that is. An option of a group is a name: with a path in it,
    it could be any file.
    """
    if key == "plugins" and not plugins:
        return ": the run used packages of its own"
    if key.split("/")[0].split(".")[0] == "hydra":
        return ": it is of Hydra"
    if not re.fullmatch(r"[\w.-]+", key) or "@" in text.partition("=")[0]:
        return ": it puts an option elsewhere"
    if "_target_" in text and not plugins:
        return ": it names a class"
    if any("${" in part for pair in _parts(value) for part in pair) or "${" in text:
        return ": it is an interpolation"
    if "." in key or key in _values() or isinstance(value, Mapping):
        return ""
    names = [name for _, name in _parts(value)]
    return "" if all(re.fullmatch(r"[\w-]*", name) for name in names) else ": it is no name of an option"


def harmless(words: Sequence[str]) -> bool:
    """Return whether the words of a command line that a file names may be shown to be pasted: -m, -cn NAME,
    and values and options that say neither where something is written nor which class is built.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    rest, parser = iter(words), OverridesParser.create()
    for word in rest:
        if word == "-m" or (word == "-cn" and re.fullmatch(r"\w+", next(rest, ""))):
            continue
        if re.fullmatch(r"hydra\.launcher\.jobs=\d+|hydra/launcher=\w+", word):
            continue
        try:
            made = parser.parse_override(word)
        except (HydraException, ValueError, RecursionError):
            return False
        key, value = made.key_or_group, made.value()
        value = getattr(value, "list", "") if made.is_sweep_override() else value
        if word[0] in "+~" or {*WRITTEN} & {*key.split(".")} or _fault(word, key, value, plugins=False):
            return False
    return True


@lru_cache(maxsize=1)
def _values() -> frozenset[str]:
    """Return the keys of the whole configuration that are no groups."""
    root = yaml.safe_load((conf_folder() / "config.yaml").read_bytes())
    return frozenset(key for key in root if key != "defaults")


def typed_again(folder: Path, before: list[str], typed: list[str]) -> list[str]:
    """Return the command line of a run that goes on in its folder: what was typed for it, in place of the
    resume= that is typed now, without what is typed now as well.
    """
    place = max(i for i, text in enumerate(typed) if text.startswith("resume="))
    now = {_key(text) for text in typed if "=" in text or text.startswith("~")}
    kept = [text for text in before if _key(text) not in {*now, "dir", "resume"}]
    more = [*kept, override("dir", folder), "resume=auto"]
    rest = [[t for t in part if not t.startswith("resume=")] for part in (typed[:place], typed[place:])]
    return [*rest[0], *more, *rest[1]]


def _key(text: str) -> str:
    return text.lstrip("+~").partition("=")[0]
