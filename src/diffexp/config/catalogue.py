"""The classes that a file may name. A configuration that is read from a checkpoint, an exported folder or a
run folder is a stranger's, and so it may name a class only in the place for which conf/ has an option that
names it.

A place is a group and the way from it: "sampler", "metrics.extractor", "metrics.metrics[]" for each of a
list, "callbacks.*" for each of several. Packages that the person has typed with plugins= offer their own
classes for a place where these are of its kind. The whole of a configuration is judged before anything in it
is imported or called.
"""

import ast
import importlib.util
import inspect
import re
import sys
import typing
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache, reduce
from pathlib import Path
from typing import Any

import diffexp
from diffexp.config.build import locate
from diffexp.config.kinds import KINDS, is_kind, kind_of
from diffexp.config.moved import moved
from diffexp.errors import ConfigError

_NESTED = {  # places that take what other places do
    "data.parts.*": "data",
    "conditioning.of": "conditioning",
    **{f"data.{part}": part for part in ("sampler", "guidance", "clip")},
}
INSIDE = "(inside a plug-in)"  # a place in a node of the person's own class: it may hold any shipped part
_PARTS = (
    "schedule",
    "prediction",
    "sampler",
    "guidance",
    "clip",
    "network",
    "codec",
    "conditioning",
    "text_encoder",
)


def conf_folder() -> Path:
    """Return the folder of the shipped options: in the package, or beside src/ in a clone."""
    inside = Path(diffexp.__file__).parent / "conf"
    return inside if inside.is_dir() else Path(diffexp.__file__).parents[2] / "conf"


def judge(node: Any, place: str, plugins: Sequence[str] = (), path: str = "") -> list[ConfigError]:
    """Return what a file may not say in this place; [] for a configuration that may be built.

    Nothing is called, and nothing imported but the person's own plug-ins.
    """
    return list(_judged(node, place, plugins, path or place))


def _judged(node: Any, place: str, plugins: Sequence[str], path: str) -> Iterator[ConfigError]:
    if isinstance(node, str) and "${" in node:
        yield ConfigError(f"{path}={node[:60]} is an interpolation", path, "use a file that holds its values")
    if isinstance(node, list):
        for i, child in enumerate(node):
            yield from _judged(child, f"{place}[]", plugins, f"{path}[{i}]")
    if not isinstance(node, Mapping):
        return
    own = False
    if "_target_" in node:
        name = moved(node["_target_"])
        own = isinstance(name, str) and _inside(name, plugins)
        yield from _named(name, bool(node.get("_partial_")), place, plugins, path)
    elif place in KINDS:
        yield ConfigError(f"{path} names no class", f"{path}._target_", "use a file of a run of diffexp")
    for key, child in node.items():
        below = INSIDE if own or place == INSIDE else f"{place}.{key if '_target_' in node else '*'}"
        if not str(key).startswith("_"):
            yield from _judged(child, _aliases().get(below, below), plugins, f"{path}.{key}")


def _named(name: Any, partial: bool, place: str, plugins: Sequence[str], path: str) -> Iterator[ConfigError]:
    offered = _offered(place)
    if isinstance(name, str) and _inside(name, plugins):
        faults = list(_plugin(name, place, plugins, path))
    elif isinstance(name, str) and _shipped(name, offered):
        faults = []
    else:
        do = f"name one of {', '.join(sorted(offered))}" if offered else "use a file without it"
        if isinstance(name, str) and "." in name and not name.startswith("diffexp."):
            do = f"if the package is your own, type plugins=[{name.split('.')[0]}]; else {do}"
        what = f"{str(name)[:100]} may not be built from a file as {place}"
        faults = [ConfigError(what, f"{path}._target_", do)]
    if not faults and place != INSIDE and partial != (place in _partials()):
        what = f"_partial_ is {str(partial).lower()}, which it is not of {place}"
        faults = [ConfigError(what, f"{path}._partial_", "use a file of a run of diffexp")]
    yield from faults


def _shipped(name: str, offered: frozenset[str]) -> str | None:
    """Return the offered name that this is: the name in conf/, or that of the module with the class."""
    if name in offered:
        return name
    for other in offered:
        if other.rpartition(".")[2] == name.rpartition(".")[2]:
            target = locate(other)
            if name == f"{target.__module__}.{target.__qualname__}":
                return other
    return None


def _plugin(name: str, place: str, plugins: Sequence[str], path: str) -> Iterator[ConfigError]:
    """Yield what is wrong with a class or function of the person's own package in this place."""
    where = f"{path}._target_"
    if any(part.startswith("_") for part in name.split(".")):
        yield ConfigError(f"{name} is private", where, "name a class that the package offers")
        return
    if not _defines(name):
        yield ConfigError(f"there is no {name}", where, "name a class that a module of the package defines")
        return
    try:
        target = locate(name, where, plugins)
    except ConfigError as error:
        yield error
        return
    kind = kind_of(place)
    if name in plugins:
        return
    if inspect.isclass(target):
        if kind is not None and not is_kind(target, kind):
            yield ConfigError(f"{name} is no {kind.__name__}", where, f"name one for {place}")
        return
    if kind is None:
        yield ConfigError(f"{name} is no class", where, f"type plugins=[{','.join([*plugins, name])}]")
        return
    made = _returned(target)
    if not (inspect.isclass(made) and is_kind(made, kind)):
        do = f"write -> {kind.__name__} behind its arguments, or type plugins=[{','.join([*plugins, name])}]"
        yield ConfigError(f"{name} does not say that it returns a {kind.__name__}", where, do)


def _defines(name: str) -> bool:
    """Return whether a module that is not imported yet has such a name, by its text: a file is not to choose
    which script of a package is run.
    """
    module, _, last = name.rpartition(".")
    if module in sys.modules or "." not in module:
        return True
    try:
        spec = importlib.util.find_spec(module)
        text = spec and spec.loader and spec.loader.get_source(module)  # type: ignore[attr-defined]
        tree = ast.parse(text or "")
    except (ImportError, AttributeError, SyntaxError, ValueError):  # it may be a class, and `last` its method
        return module.rpartition(".")[0] in sys.modules or _defines(module)
    return any(getattr(part, "name", None) == last for part in tree.body)


def _returned(function: Any) -> Any:
    try:
        return typing.get_type_hints(function).get("return")
    except Exception:  # a type that only a type checker can read
        return None


def _inside(name: str, packages: Sequence[str]) -> bool:
    return any(name == p or name.startswith(f"{p}.") for p in packages)


@lru_cache(maxsize=64)
def _offered(place: str) -> frozenset[str]:
    """Return the names that the shipped options give for a place."""
    if place == INSIDE:
        return frozenset().union(*(_offered(group) for group in _PARTS))
    root = _root() if "." not in place and place in ("snr", "loader", "model", "evaluator") else None
    group = re.split(r"[.\[]", place)[0]
    nodes = [root[place]] if root else _group(group)
    return frozenset(name for node in nodes for where, name, _ in _targets(node, group) if where == place)


@lru_cache(maxsize=1)
def _partials() -> frozenset[str]:
    groups = ("network", "optimizer", "trainer", "autoencoder")  # which conf/ leaves for others to call
    places = {where for g in groups for node in _group(g) for where, _, later in _targets(node, g) if later}
    return frozenset(places | {"model"})


def _targets(node: Any, place: str) -> Iterator[tuple[str, str, bool]]:
    if isinstance(node, list):
        for child in node:
            yield from _targets(child, f"{place}[]")
    elif isinstance(node, Mapping):
        if "_target_" in node:
            yield place, node["_target_"], bool(node.get("_partial_"))
        for key, child in node.items():
            yield from _targets(child, f"{place}.{key if '_target_' in node else '*'}")


@lru_cache(maxsize=64)
def _group(group: str) -> list[Any]:
    nodes = [_option(path) for path in sorted(conf_folder().joinpath(group).glob("*.yaml"))]
    # those of @package _global_ have it under the group's name
    return [node if "_target_" in node else node.get(group, node) for node in nodes]


def _option(path: Path) -> Any:
    """Read an option with its defaults, of its own folder or (as /_grid@_here_, or at another key) of
    conf/.
    """
    node, inherited = _yaml(path), list[Any]()
    for default in (d for d in node.pop("defaults", []) if isinstance(d, str) and d != "_self_"):
        name, _, key = default.partition("@")
        base = conf_folder() / name[1:] if name.startswith("/") else path.parent / name
        made = _option(base.with_suffix(".yaml"))
        inherited.append(made if key in ("", "_here_") else {key: made})
    return reduce(_over, [*inherited, node])


def _over(below: Any, above: Any) -> Any:
    """Merge two configurations as Hydra does: keys of the second one win, at any depth."""
    if not (isinstance(below, Mapping) and isinstance(above, Mapping)):
        return above
    return {**below, **{key: _over(below.get(key), value) for key, value in above.items()}}


@lru_cache(maxsize=1)
def _root() -> dict[str, Any]:
    return _yaml(conf_folder() / "config.yaml")


@lru_cache(maxsize=1)
def _aliases() -> dict[str, str]:
    """Return the places that conf/ fills from another: snr.schedule is a schedule, model.schedule an snr."""
    groups = [path.name for path in conf_folder().iterdir() if path.is_dir() and path.name != "experiment"]
    nodes = [(group, node) for group in groups for node in _group(group)]
    return _NESTED | {
        f"{key}.{name}": value[2:-1]
        for key, node in (*_root().items(), *nodes)
        if isinstance(node, dict) and "_target_" in node
        for name, value in node.items()
        if isinstance(value, str) and value[2:-1] in (*groups, "snr") and value == f"${{{value[2:-1]}}}"
    }


def _yaml(path: Path) -> Any:
    import yaml  # here, for the module of diffexp.load is to be imported where there is torch alone

    return yaml.load(path.read_bytes(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)) or {}
