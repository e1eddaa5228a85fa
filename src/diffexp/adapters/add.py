"""A model with the sum of what some adapters add to its weights: W' = W + Σ c_i s_i ΔW_i.

The sum is made in float64 before it is added: the order of the adapters does not matter, and with c = 0 the
weights are those of the base, bit for bit.
"""

import math
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diffexp.adapters.concept import Concept, add_word, text_encoder_of
from diffexp.adapters.files import Adapted, read_adapter
from diffexp.adapters.formulas import Parts, by_layer, change
from diffexp.adapters.kinds import Adapter
from diffexp.adapters.layers import layers_of
from diffexp.errors import ConfigError, DataError
from diffexp.model.base import ANY, PARTS
from diffexp.model.model import Model
from diffexp.model.restore import Restored
from diffexp.model.trainable import digest_of
from diffexp.notice import warn


def check_scales(adapters: Sequence[str] | None, scales: Sequence[float] | None) -> tuple[float, ...]:
    """Return c of each adapter, 1 where none is given. Raises ConfigError."""
    if scales is None:
        return (1.0,) * len(adapters or ())
    if len(scales) != len(adapters or ()):
        what = f"{len(scales)} scales for {len(adapters or ())} adapters"
        raise ConfigError(what, "task.adapter_scales", "give one for each of task.adapters")
    if not all(map(math.isfinite, scales)):
        raise ConfigError(f"adapter_scales={list(scales)}", "task.adapter_scales", "give numbers, e.g. [0.5]")
    return tuple(map(float, scales))


def added(
    restored: Restored,
    adapters: Sequence[str],
    scales: Sequence[float],
    ema: float | None = True,
    plugins: Sequence[str] = (),
    base: str | None = None,
) -> Restored:
    """Return a model with adapters added, as a copy. scales: c of each; ema: which average of them;
    base: "any" for adapters that were trained on another. Raises DataError, ConfigError.
    """
    if restored.tune.needs_base:
        do = "give the run below it as task.ckpt, and this one among task.adapters"
        raise ConfigError("task.ckpt is an adapted run itself", "task.adapters", do)
    model = deepcopy(restored.model)
    layers = layers_of(model)
    read = [read_adapter(text, list(layers), ema, plugins) for text in adapters]
    own = {name: digest_of(model.get_submodule(name)) for name in PARTS}
    for adapter in read:
        _check_base(adapter, own, base)
    totals = dict[str, Tensor]()
    for adapter, c in zip(read, scales, strict=True):
        _add_words(model, adapter, c)
        for name, parts in adapter.layers.items():
            made = c * _change(name, parts, layers, adapter.scales[name], adapter.path)
            totals[name] = totals[name] + made if name in totals else made
    for name, total in totals.items():
        _add(layers[name].weight, total)
    said = ", ".join(f"{path} x {c:g}" for path, c in zip(adapters, scales, strict=True))
    model.weights = f"{model.weights}, with {said}"
    return replace(restored, model=model)


def _check_base(adapter: Adapted, own: Mapping[str, str], base: str | None) -> None:
    """Raise DataError for adapters that were trained on another base, or say so."""
    if adapter.base is None or all(own.get(n, d) == d for n, d in adapter.base.items() if n in PARTS):
        return
    what = "these adapters were trained on other weights than those of task.ckpt"
    if base != ANY:
        do = f"give the run that they were trained on, or type tune.base={ANY} to add them all the same"
        raise DataError(what, str(adapter.path), do)
    warn(f"{what}, and are added all the same (tune.base={ANY}): {adapter.path}")


def _add_words(model: Model, adapter: Adapted, c: float) -> None:
    """Add the new words of a file; c: 1, or 0 to leave them out. Raises ConfigError, DataError."""
    if adapter.words and c not in (0, 1):
        what = f"{', '.join(adapter.words)} is a word, and has no scale: {c:g}"
        raise ConfigError(what, "task.adapter_scales", "give 1 for it, or 0 to leave it out")
    for word, vectors in adapter.words.items() if c else ():
        add_word(model, word, vectors, adapter.keep_norm, adapter.path)


def _change(name: str, parts: Parts, layers: Mapping[str, Any], scale: float, path: Path) -> Tensor:
    if name not in layers:
        do = "give adapters of a network with the same layers"
        raise DataError(f"the model has no layer {name[:200]}", str(path), do)
    try:
        return change(parts, layers[name].weight, scale)
    except (ValueError, RuntimeError, KeyError) as error:
        what = f"the adapter of {name[:200]} does not fit: {' '.join(str(error).split())[:200]}"
        raise DataError(what, str(path), "give adapters of a network with the same layers") from error


@torch.no_grad()
def _add(weight: Tensor, total: Tensor) -> None:
    weight.copy_(weight.double() + total)


def merged(restored: Restored) -> Restored:
    """Return an adapted run as a plain model, whose weights hold what the adapters add, and which knows the
    word that was learned; in place.
    """
    model, tune = restored.model, restored.tune
    if isinstance(tune, Adapter):
        _merge(model, tune, restored.path)
    if isinstance(tune, Concept):
        text_encoder_of(model, "tune").concepts.keep()
    _unseat(model)
    return replace(restored, base={n: d for n, d in restored.base.items() if n not in PARTS})


def _merge(model: Model, tune: Adapter, path: Path) -> None:
    for name, parts in by_layer(tune.state(model), path).items():
        layer: Any = model.get_submodule(name)
        base = layer.base_layer
        _add(base.weight, change(parts, base.weight, tune.scale))
        parent, _, last = name.rpartition(".")
        setattr(model.get_submodule(parent), last, base)


def _unseat(model: Model) -> None:
    """Take the weights of the network and the conditioning for their own again."""
    for name in PARTS:
        vars(model.get_submodule(name)).pop("source", None)
    model.note()
