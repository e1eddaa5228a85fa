"""Files that a stranger's configuration names: none is written to, and each is said before it is read."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from diffexp.notice import warn

WRITTEN = ("cache", "folder", "dir")
"""Keys whose value is a place where something is written."""
CACHE = "~/.cache/diffexp/stats"
_OTHERS = ("text", "latents", "prior", "index")
CACHES = (CACHE, *(f"~/.cache/diffexp/{name}" for name in _OTHERS))


def settled(nodes: Mapping[str, Any], typed: Sequence[str], data_root: str, source: Path) -> dict[str, Any]:
    """Return the nodes of a stranger's file with no place to write to but the person's own.

    A cache is the person's; a data set elsewhere than in `data_root` is read where it lies, and not
    downloaded. What else is a path or a name on the hub is said before it is read. typed: keys that are the
    person's own.
    """
    return {key: _settled(node, key, typed, data_root, source) for key, node in nodes.items()}


def _settled(node: Any, path: str, typed: Sequence[str], data_root: str, source: Path) -> Any:
    if path.replace("[", ".").replace("]", "") in typed:
        return node
    if isinstance(node, list):
        return [_settled(v, f"{path}[{i}]", typed, data_root, source) for i, v in enumerate(node)]
    if isinstance(node, Mapping):
        made = {k: _settled(v, f"{path}.{k}", typed, data_root, source) for k, v in node.items()}
        return _of_data(made, path, typed, data_root, source) if "root" in made else made
    key = path.rpartition(".")[2]
    if not isinstance(node, str) or key in ("_target_", "root"):
        return node
    if key in ("cache", "folder") and node in CACHES:
        return node
    if key in WRITTEN:
        warn(f"{path}={node}, which {source} names, is not written to: {CACHE} is")
        return CACHE
    if key == "model" or (key != "name" and names_a_path(node)):
        warn(f"reading {path}={node}, which {source} names")
    return node


def _of_data(
    node: dict[str, Any], path: str, typed: Sequence[str], data_root: str, source: Path
) -> dict[str, Any]:
    """Return a public data set: in the person's own root, or read where the file says, without a download."""
    root = str(node["root"])
    if Path(root).expanduser() == Path(data_root).expanduser():
        return node
    if "data_root" in typed or not _there(root):
        return {**node, "root": data_root}
    warn(f"reading {path}.root={root}, which {source} names")
    return {**node, "download": False}


def names_a_path(text: str) -> bool:
    """Return whether a value is a path, an address or a name on the hub, or that of a file in this folder."""
    slash = "/" in text and not re.fullmatch(r"1/\d+", text)  # a level of a network, as in attention: [1/4]
    return slash or "\\" in text or text.startswith("~") or _there(text)


def _there(text: str) -> bool:
    try:
        return bool(text) and Path(text).expanduser().exists()
    except (OSError, ValueError, RuntimeError):
        return False
