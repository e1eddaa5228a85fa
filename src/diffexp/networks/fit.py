"""Whether a condition is one that a network was built for."""

from torch import Tensor

from diffexp.condition import Condition
from diffexp.errors import ConfigError


def check_fit(
    cond: Condition | None,
    num_classes: int | None,
    vector_dim: int | None,
    token_dim: int | None,
    sizes: int | None = None,
) -> None:
    """Raise ConfigError where a network is given what it has no weights for, or not what it needs.

    None: the network has no classes, takes no vector, has no cross-attention, is told no sizes.
    """
    cond = cond or Condition()
    if (cond.label is None) != (num_classes is None):
        raise ConfigError(*_label(num_classes))
    _check_width("vector", cond.vector, "vector_dim", vector_dim)
    _check_width("tokens", cond.tokens, "token_dim", token_dim)
    _check_width("size", cond.size, "sizes", sizes)


def _label(num_classes: int | None) -> tuple[str, str, str]:
    if num_classes is None:
        what = "this network knows no classes, but was given a label"
        return what, "UNet(num_classes=None)", "give no label"
    do = f"give labels 0..{num_classes - 1}, or {num_classes}, the null label"
    what = "this network is class-conditional, but was given no label"
    return what, f"UNet(num_classes={num_classes})", do


def _check_width(name: str, value: Tensor | None, key: str, width: int | None) -> None:
    given = None if value is None else value.shape[-1]
    if given == width:
        return
    what = f"this network takes {_of(name, width)}, but was given {_of(name, given)}"
    raise ConfigError(what, f"UNet({key}={width})", "take the conditioning that it was built with")


def _of(name: str, width: int | None) -> str:
    return f"no {name}" if width is None else f"{name} of width {width}"
