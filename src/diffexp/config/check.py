"""A configuration is checked against the Python that it names, before anything runs.

The signature of a `_target_` is the only schema: which keys there are, which must be set, of which type.
Ranges are known to the constructors, which are called. All problems are shown at once.
"""

import inspect
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from diffexp.config.build import ALLOWED, BESIDE, build, locate
from diffexp.config.suggest import nearest
from diffexp.errors import ConfigError, DiffexpError, all_at_once


def check(config: Mapping[str, Any], allowed: Sequence[str] = ALLOWED, construct: bool = True) -> None:
    """Raise ConfigError with every problem of every node of a configuration of plain values.

    construct: also call the constructors.
    """
    problems = list(_walk(_once(config), "", allowed))
    all_at_once(problems or (list(_constructed(config, allowed)) if construct else []))


def _once(config: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out the copies of top-level nodes in others: a problem is shown where it was typed."""
    own = [node for node in config.values() if isinstance(node, Mapping) and "_target_" in node]

    def strip(node: Any) -> Any:
        if isinstance(node, Mapping):
            return {k: {} if v in own else strip(v) for k, v in node.items()}
        return [strip(v) for v in node] if isinstance(node, list) else node

    return {key: strip(node) for key, node in config.items()}


def _walk(node: Any, path: str, allowed: Sequence[str]) -> Iterator[ConfigError]:
    if isinstance(node, Mapping):
        if "_target_" in node:
            try:
                target = locate(node["_target_"], f"{path}._target_", allowed)
            except ConfigError as error:
                yield error
            else:
                yield from _call(target, node, path)
        for key, value in node.items():
            yield from _walk(value, f"{path}.{key}" if path else str(key), allowed)
    elif isinstance(node, list):
        for i, value in enumerate(node):
            yield from _walk(value, f"{path}[{i}]", allowed)


def _call(target: Any, node: Mapping[str, Any], path: str) -> Iterator[ConfigError]:
    """Yield what is wrong with the arguments of one call."""
    params = {k: p for k, p in inspect.signature(target).parameters.items() if k != "self"}
    beside = BESIDE.get(node["_target_"], {})
    hints = {**_hints(target), **beside}
    anything = any(p.kind is p.VAR_KEYWORD for p in params.values())
    for key, value in node.items():
        where = f"{path}.{key}"
        if key in ("_target_", "_partial_"):
            continue
        if key not in params and key not in beside:
            if not anything:
                yield ConfigError(
                    f"{node['_target_']} has no {key}", where, _nearest(key, [*params, *beside], path)
                )
        elif value == "???":
            yield ConfigError(f"{key} must be set", where, f"type {where}=...")
        elif not fits(value, hints.get(key, Any)):
            kind, hint = describe(hints[key]), hints[key]
            do = f"type {where}=[{value}]" if fits([value], hint) else f"give {kind}"
            yield ConfigError(f"{where}={value} is not {kind}", where, do)
    if node.get("_partial_"):
        return
    for name, p in params.items():
        if p.default is p.empty and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) and name not in node:
            yield ConfigError(f"{name} is missing", f"{path}.{name}", f"add {name} to {path}")


def _constructed(config: Mapping[str, Any], allowed: Sequence[str]) -> Iterator[ConfigError]:
    """Yield what the constructors refuse. They are cheap: work begins with a method call."""
    for key, node in config.items():
        if isinstance(node, Mapping) and "_target_" in node:
            try:
                build(node, key, allowed)
            except ConfigError as error:
                yield error
            except (TypeError, ValueError, ImportError) as error:
                if isinstance(error, DiffexpError):
                    raise
                yield ConfigError(f"{node['_target_']}: {error}", key, "see its documentation")


def _nearest(key: str, known: Sequence[str], path: str) -> str:
    near = nearest(key, known)
    return f"type {path}.{near}" if near else f"choose from {', '.join(known)}"


def _hints(target: Any) -> dict[str, Any]:
    try:
        return typing.get_type_hints(target.__init__ if inspect.isclass(target) else target)
    except NameError:  # an annotation that only a type checker can read
        return {}


def fits(value: Any, hint: Any) -> bool:
    """Return whether a value of YAML may be given where `hint` is declared; what is not known here passes."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(fits(value, a) for a in args)
    if origin is typing.Literal:
        return any(value == a and type(value) is type(a) for a in args)
    if hint is type(None):
        return value is None
    if hint is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if hint in (bool, str):
        return isinstance(value, hint)
    if origin in (list, tuple, Sequence) or hint in (list, tuple):
        if not isinstance(value, (list, tuple)):
            return False
        if _of_fixed_length(hint):
            return len(value) == len(args) and all(map(fits, value, args))
        return all(fits(v, args[0]) for v in value if args)
    # an object is named by a node, never by a bare value
    return not _object(hint) or isinstance(value, Mapping)


def _of_fixed_length(hint: Any) -> bool:
    return typing.get_origin(hint) is tuple and Ellipsis not in typing.get_args(hint)


def _object(hint: Any) -> bool:
    return isinstance(hint, type) and hint.__module__.startswith("diffexp.")


_WORDS: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
    type(None): "null",
}


def describe(hint: Any) -> str:
    """Describe a type in the words of a configuration."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint in _WORDS:
        return _WORDS[hint]
    if origin is typing.Literal:
        return " or ".join(map(str, args))
    if origin in (typing.Union, types.UnionType):
        return " or ".join(describe(a) for a in args)
    if _of_fixed_length(hint):
        words = list(map(describe, args))
        same = len(set(words)) == 1
        return f"a list of {len(words)}, each {words[0]}" if same else f"[{', '.join(words)}]"
    if origin in (list, tuple, Sequence):
        return f"a list, each {describe(args[0])}" if args else "a list"
    return getattr(hint, "__name__", str(hint))
