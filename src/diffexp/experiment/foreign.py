"""Reading YAML that may be a stranger's: no tags, no bombs, and of a run's command line only what is data."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from diffexp.errors import DataError

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
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        first = str(error).splitlines()[0]
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
    """overrides.yaml of a run. Raises DataError for what would run code of others, or read the environment;
    OSError where there is none. plugins: whether the user has typed them again.
    """
    path = folder / "overrides.yaml"
    found = read_yaml(path)
    if not isinstance(found, list) or not all(isinstance(t, str) for t in found):
        raise DataError("this is no list of overrides", str(path), "use the folder of a run of diffexp")
    for text in found:
        key = text.lstrip("+~").split("=", 1)[0]
        if key.startswith("hydra") or ("_target_" in text and not plugins) or "${" in text:
            do = "type what you want of it yourself, with dir=... in place of resume=..."
            raise DataError(f"{text[:80]} is not taken from a run folder", str(path), do)
        if key == "plugins" and not plugins:
            do = f"if you trust these packages, type {text[:80]} beside resume=..."
            raise DataError("the run used packages of its own", str(path), do)
    return found
