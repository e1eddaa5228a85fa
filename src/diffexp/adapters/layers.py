"""The layers of a model that can have an adapter, and putting peft's adapters into them."""

import re
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from diffexp.errors import ConfigError, DiffexpError
from diffexp.model.model import Model
from diffexp.model.patterns import matching, near, short

_NETWORK, _TEXT = "denoiser.network.", "conditioning."


def layers_of(
    model: nn.Module, parts: str | tuple[str, ...] = (_NETWORK, _TEXT)
) -> dict[str, nn.Linear | nn.Conv2d]:
    """Return the linear layers and convolutions whose names in the model begin so. Those inside of torch's
    own attention, which are not called, and convolutions in groups are left out.
    """
    inside = tuple(f"{name}." for name, m in model.named_modules() if isinstance(m, nn.MultiheadAttention))
    return {
        name: layer
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Linear | nn.Conv2d)
        and getattr(layer, "groups", 1) == 1
        and name.startswith(parts)
        and not name.startswith(inside)
    }


def chosen(model: Model, patterns: Sequence[str], text_encoder: bool) -> dict[str, nn.Linear | nn.Conv2d]:
    """Return the layers of the network that the patterns name, by their names in the model, and with
    text_encoder all of the text encoder. Raises ConfigError where there are none.
    """
    network = layers_of(model, _NETWORK)
    names = matching(patterns, list(network))
    if not names:
        what = f"no layer of the network has a name as {', '.join(patterns) or 'no pattern'}"
        raise ConfigError(what, "tune.modules", near(patterns, list(network)))
    layers = {name: network[name] for name in names}
    if text_encoder:
        texts = layers_of(model, _TEXT)
        if not texts:
            what = "there is no text encoder that is trained along"
            raise ConfigError(what, "tune.text_encoder", "type tune.text_encoder=false")
        layers |= texts
    return layers


def counts(model: Model, patterns: Sequence[str], layers: dict[str, Any]) -> str:
    """Return how many layers of the network each pattern names, and how many there are of the rest."""
    own = [name for name in layers if name.startswith(_NETWORK)]
    parts = [f"{p} {len(matching([p], own))}" for p in patterns]
    if text := len(layers) - len(own):
        parts.append(f"text encoder {text}")
    return ", ".join(parts)


def anchored(names: Sequence[str]) -> str:
    """Return a regular expression of these names alone, for peft would take "conv" for any "*.conv"."""
    return "|".join(map(re.escape, names))


def inject(model: Model, config: Callable[[Any], Any], empty: bool) -> None:
    """Put peft's adapters into the layers that a configuration names. config: makes it, given peft; empty:
    they have no memory yet. Raises ConfigError.
    """
    try:
        import peft
    except ImportError as error:
        do = "type: pip install 'diffexp[adapters]'"
        raise ConfigError(f"adapters need peft ({error})", "tune", do) from error
    try:
        peft.inject_adapter_in_model(config(peft), model, low_cpu_mem_usage=empty)
    except DiffexpError:
        raise
    except Exception as error:  # what peft refuses has no common type
        first = (str(error) or "no text").splitlines()[0][:200]
        what = f"peft refuses this adapter: {type(error).__name__}: {first}"
        raise ConfigError(what, "tune", "give other layers by tune.modules, or another rank") from error


def names_of(names: Sequence[str]) -> str:
    """Return some names of layers, for a message."""
    return ", ".join(map(short, names[:3])) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def size_of(weight: Tensor) -> int:
    """Return the largest rank that a change of a weight, (out, in, ...), can have."""
    return min(weight.shape[0], weight[0].numel())
