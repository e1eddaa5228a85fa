"""A model from a checkpoint, which holds the configuration that it was trained with."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from diffexp.archive import is_dict
from diffexp.config.build import OURS, build
from diffexp.config.catalogue import judge
from diffexp.config.check import check
from diffexp.config.kinds import check_kinds
from diffexp.config.untrusted_paths import settled
from diffexp.diffusion import ClosedForm
from diffexp.diffusion.denoiser import Precision
from diffexp.errors import ConfigError, DataError, all_at_once
from diffexp.model.base import Base, check_base, put_base, read_below
from diffexp.model.build import build_model
from diffexp.model.find import MODEL, Description, describe, find, read
from diffexp.model.model import Model
from diffexp.model.same_codec import check_latents
from diffexp.model.trainable import Full, Trainable, base_of
from diffexp.model.weights import average_of, holding_together, name_of, no_larger_than, weights_of

MODEL_PLACES = {"schedule": "snr"}  # the rest of a model's nodes are named like their groups


@dataclass(frozen=True)
class Restored:
    """config: of the training run; step: of the optimizer; path: of the checkpoint; base: digests of the
    weights that come from other files; tune: what was trained.
    """

    model: Model
    config: dict[str, Any]
    step: int
    path: Path
    base: Mapping[str, str] = field(default_factory=dict[str, str])
    tune: Trainable = field(default_factory=Full)

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """The names of the labels, or None."""
        return self.model.class_names


def restore(
    path: str | Path,
    ema: float | None = True,
    plugins: Sequence[str] = (),
    precision: Precision | None = None,
    codec: str | None = None,
    base: str | None = None,
) -> Restored:
    """The model of a checkpoint or run folder, on the CPU; ema: which average of its weights (`average_of`),
    None for those that are trained; codec: where its autoencoder lies now; base: of an adapted run, where its
    base does, or "any". Raises DataError, ConfigError.

    Only classes of diffexp and of `plugins` are built: a checkpoint may be a stranger's.
    """
    found = find(path)
    checkpoint = read(found)
    told = describe(checkpoint, found)
    average = average_of(ema, told.decays, found)
    weights = weights_of(checkpoint, average, found)
    with torch.device("cpu"), holding_together(found):  # also where a network that reads it is made elsewhere
        tune = _tune_at(tune_of(told.config, plugins), base, found)
        below = read_below(told, base, found) if tune.needs_base else None
        model = _built(told, weights, average, tuple(plugins), precision, found, codec, below)
        if below is None:
            tune = Full()  # what was frozen is nothing to whoever samples
            tune.load(model, weights, found)
        model.check()
        model.load()
        digests = base_of(model) if below is None else put_base(model, below)
        check_base(model, tune, digests, told.base, found, told.config)
        if below is not None:
            tune.apply(model, empty=True)
            tune.load(model, weights, found)
    return Restored(model.eval().requires_grad_(False), told.config, told.step, found, digests, tune)


def tune_of(config: Mapping[str, Any], plugins: Sequence[str] = ()) -> Trainable:
    """Return what was trained, of the configuration of a checkpoint. Raises ConfigError."""
    node = config.get("tune")
    if node is None:
        return Full()
    nodes = judged({"tune": node}, plugins)
    check(nodes, (*OURS, *plugins))
    tune: Any = build(nodes["tune"], "tune", (*OURS, *plugins))
    check_kinds({"tune": tune})
    return tune


def _tune_at(tune: Any, base: str | None, path: Path) -> Trainable:
    """Return it with the place of its base as it is now. Raises ConfigError."""
    if base is not None and not tune.needs_base:
        raise ConfigError("this run adapts no other", "tune.base", f"leave it away for {path}")
    return replace(tune, base=base) if tune.needs_base else tune


def _built(
    told: Description,
    weights: Mapping[str, Tensor],
    average: int | None,
    plugins: tuple[str, ...],
    precision: Precision | None,
    path: Path,
    codec: str | None,
    below: Base | None,
) -> Model:
    nodes = judged_model(told, plugins, path, codec)
    check(nodes, (*OURS, *plugins))
    parts = {key: build(node, f"model.{key}", (*OURS, *plugins)) for key, node in nodes.items()}
    check_kinds({MODEL_PLACES.get(key, key): made for key, made in parts.items()})
    if closed(parts["network"]):
        raise DataError("its network has no weights", str(path), "use a checkpoint of task=train")
    precision = cast(Precision, precision or told.config.get("precision", "fp32"))
    check_latents(parts["codec"], told.shape, told.codec, told.config, path)
    held = weights if below is None else below.weights
    ours = all(map(_ours, nodes.values()))
    with no_larger_than(held, path) if ours else nullcontext():  # another may build more than it keeps
        return build_model(
            told.shape,
            told.classes,
            precision=precision,
            weights=name_of(told.decays, average),
            learned=told.learned,
            of_codec=told.codec,
            **parts,
        )


def judged_model(
    told: Description, plugins: Sequence[str], path: Path, codec: str | None = None
) -> dict[str, Any]:
    """Return the nodes of MODEL of a checkpoint at `path`, with no place to write to but the person's own
    cache. codec: where its autoencoder lies now. Raises ConfigError.
    """
    nodes = judged({key: told.config["model"][key] for key in MODEL}, plugins, MODEL_PLACES)
    return nodes | _at_home(nodes, path, codec)


def _at_home(nodes: dict[str, Any], path: Path, place: str | None) -> dict[str, Any]:
    """Return the nodes of conditioning and codec, where they are ours, with no place to write to but the
    person's own cache; the files that they name are said. place: that of the codec, if the person has named
    it.
    """
    conditioning = dict(nodes["conditioning"])
    if is_dict(encoder := conditioning.get("encoder")) and _ours(encoder):
        conditioning |= {
            "encoder": settled({"conditioning.encoder": encoder}, (), "", path)["conditioning.encoder"]
        }
    codec = nodes["codec"]
    if _ours(codec):  # without its cache, which is of trainings
        read = {key: value for key, value in codec.items() if key != "folder"}
        keys = [key for key in ("ckpt", "path") if place is not None and key in read]
        read |= dict.fromkeys(keys, place)
        codec = settled({"codec": read}, [f"codec.{key}" for key in keys], "", path)["codec"]
        if place is not None and not keys:
            raise ConfigError("this model has no autoencoder", "codec", "leave codec away")
    return {"conditioning": conditioning, "codec": codec}


def _ours(node: Mapping[str, Any]) -> bool:
    return str(node.get("_target_")).startswith("diffexp.")


def closed(network: Any) -> bool:
    """Return whether a network, or what makes it, is a closed form, which has no weights."""
    made = getattr(network, "func", None)
    return isinstance(made, type) and issubclass(made, ClosedForm)


def judged(
    nodes: dict[str, Any], plugins: Sequence[str], places: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Return the nodes of a file, by group or by the place that `places` gives them. Raises ConfigError with
    all that a file may not name.
    """
    places = places or {}
    all_at_once([p for key, node in nodes.items() for p in judge(node, places.get(key, key), plugins, key)])
    return nodes


def load(
    path: str | Path,
    ema: float = True,
    plugins: Sequence[str] = (),
    codec: str | None = None,
    base: str | None = None,
) -> Model:
    """Return the model of a checkpoint or run folder, for diffexp.sample. Raises DataError, ConfigError.

    ema: false for the weights being trained, the place of an average, from 0, or its decay. plugins: packages
    of your own of which it is made; codec, base: where its autoencoder, and the run below its adapters, lie
    now, if not where they were when the model was trained.
    """
    return restore(path, ema, plugins, codec=codec, base=base).model
