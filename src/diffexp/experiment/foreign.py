"""Reading YAML that may be a stranger's: no tags, no bombs, and of a run's command line only what is data."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from diffexp.errors import DataError
from diffexp.experiment.foreign_paths import WRITTEN, names_a_path
from diffexp.experiment.names import override
from diffexp.notice import warn

MOST_BYTES, MOST_NODES = 4 << 20, 200_000


def read_yaml(path: Path) -> Any:
    """Plain values. Raises DataError for what is too large, also by aliases of aliases, or no plain YAML;
    OSError where there is no such file.
    """
    if path.stat().st_size > MOST_BYTES:
        what = f"this file has {path.stat().st_size:,} bytes, more than {MOST_BYTES:,}"
        raise DataError(what, str(path), "use the folder of a run of diffexp")
    try:
        text = path.read_text(encoding="utf-8")
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        if root is not None and _size(root, {}) > MOST_NODES:
            what = f"this file stands for more than {MOST_NODES:,} values, by aliases of aliases"
            raise DataError(what, str(path), "use the folder of a run of diffexp")
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        first = (str(error) or type(error).__name__).splitlines()[0]
        raise DataError(f"this is no plain YAML: {first}", str(path), "use a run of diffexp") from error


def _size(node: yaml.Node, known: dict[int, int]) -> int:
    """How many values a node stands for; one that is met again counts again, without being walked again."""
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
    found = read_yaml(path)
    if not isinstance(found, list) or not all(isinstance(t, str) for t in found):
        raise DataError("this is no list of overrides", str(path), "use the folder of a run of diffexp")
    kept = []
    for text in found:
        key, line = _parsed(text, path)
        if fault := _fault(text, key, plugins):
            do = "type what you want of it yourself, with dir=... in place of resume=..."
            if key == "plugins":
                do = f"if you trust these packages, type {text[:80]} beside resume=..."
            raise DataError(f"{text[:80]} is not taken from a run folder{fault}", str(path), do)
        if key.rpartition(".")[2] in WRITTEN and key not in ("dir", "cache"):
            warn(f"{text[:200]} is not taken from {path}: to write there, type it beside resume=...")
            continue
        value = line.partition("=")[2].strip("'\"")
        if key not in ("dir", "name") and "@" not in line and "/" not in key and names_a_path(value):
            warn(f"reading {text[:200]}, which {path} names")
        kept.append(line)
    return kept


def _parsed(text: str, path: Path) -> tuple[str, str]:
    """The key of an override, and the override as it is typed. Raises DataError for anything else."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        made = OverridesParser.create().parse_override(text)
        sweep = made.is_sweep_override()
    except (HydraException, ValueError, RecursionError) as error:
        first = (str(error) or type(error).__name__).splitlines()[0]
        do = "mend the line, or type dir=... in place of resume=..."
        raise DataError(f"{text[:80]!r} is no override: {first[:120]}", str(path), do) from error
    if sweep or text.startswith(("-", "=")):
        do = "type dir=... in place of resume=..."
        raise DataError(f"{text[:80]} is not taken from a run folder: it is not one value", str(path), do)
    return made.key_or_group.split("@")[0], text


def _fault(text: str, key: str, plugins: bool) -> str:
    if key == "plugins" and not plugins:
        return ": the run used packages of its own"
    if key.split("/")[0].split(".")[0] == "hydra":
        return ": it is of Hydra"
    if "_target_" in text and not plugins:
        return ": it names a class"
    return ": it is an interpolation" if "${" in text else ""


def typed_again(folder: Path, before: list[str], now: list[str]) -> list[str]:
    """Return the command line of a run that goes on in its folder: what was typed for it, and what is now."""
    kept = [t for t in before if not t.startswith(("dir=", "resume="))]
    return [*kept, *now, override("dir", folder), "resume=auto"]
