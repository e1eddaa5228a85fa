"""Build the objects that a configuration names: {_target_: package.Class, key: value} is
package.Class(key=value).

`_partial_: true` leaves the call to whoever gets the object. What a `_target_` may name is a short list of
packages, for a configuration may be a stranger's: Hydra's own `instantiate` runs whatever is not known to be
bad, and would run `torch.load` of a pickle.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from inspect import isclass, isroutine
from typing import Any

from diffexp.config.moved import moved
from diffexp.config.suggest import nearest
from diffexp.errors import ConfigError

OURS = ("diffexp",)
BESIDE: dict[str, dict[str, Any]] = {
    "lightning.Trainer": {"max_time": str | float | None, "max_flops": float | str | None},
}
"""Keys, with their types, that stand beside those of a class of another package: we read them, and it is not
called with them (a budget: training/budget.py)."""
ALLOWED = (*OURS, "torch.optim", "lightning", "torchmetrics")


def build(node: Any, path: str = "", allowed: Sequence[str] = ALLOWED) -> Any:
    """Build the objects that a plain configuration (dicts, lists, values; nothing to interpolate) names.

    A list of values becomes a tuple, a list of nodes a list. Raises ConfigError for a target outside
    `allowed`, and whatever the constructors raise.
    """
    if isinstance(node, list):
        built = [build(child, f"{path}[{i}]", allowed) for i, child in enumerate(node)]
        return built if any(isinstance(child, Mapping) for child in node) else tuple(built)
    if not isinstance(node, Mapping):
        return node
    aside = BESIDE.get(str(node.get("_target_")), {})
    values = {
        k: build(v, f"{path}.{k}", allowed)
        for k, v in node.items()
        if not k.startswith("_") and k not in aside
    }
    if "_target_" not in node:
        return values
    target = locate(node["_target_"], f"{path}._target_", allowed)
    return partial(target, **values) if node.get("_partial_") else target(**values)


def locate(name: Any, where: str = "_target_", allowed: Sequence[str] = ALLOWED) -> Callable[..., Any]:
    """Return the class or function of that name. Raises ConfigError when it is not there or not allowed."""
    if not isinstance(name, str) or not _inside(name, allowed):
        do = f"name a class of {', '.join(allowed)}, or allow your own with plugins=[my_package]"
        raise ConfigError(f"{name} may not be built from a configuration", where, do)
    parts = moved(name).split(".")
    try:
        target = import_module(parts[0])
        for i, part in enumerate(parts[1:], 1):
            if not hasattr(target, part):
                import_module(".".join(parts[: i + 1]))
            target = getattr(target, part)
    except (ImportError, AttributeError) as error:
        near = nearest(parts[-1], _public(".".join(parts[:-1])))
        do = f"type {'.'.join([*parts[:-1], near])}" if near else "see the options in conf/"
        if not near and not _inside(name, OURS):
            here = find_spec(parts[0]) is not None
            do = "mend what it imports" if here else f"install {parts[0]}, or put its folder into PYTHONPATH"
        raise ConfigError(f"there is no {name} ({error})", where, do) from error
    # what a module of ours has merely imported is not ours
    if not (isclass(target) or isroutine(target)) or not _inside(target.__module__ or "", allowed):
        raise ConfigError(f"{name} is no class or function of {', '.join(allowed)}", where, "name one")
    return target


def _public(module: str) -> list[str]:
    try:
        return dir(import_module(module))
    except ImportError:
        return []


def _inside(name: str, packages: Sequence[str]) -> bool:
    return any(name == p or name.startswith(f"{p}.") for p in packages)
