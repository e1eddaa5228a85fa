"""A model from a checkpoint, which holds the configuration that it was trained with."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from torch import Tensor

from diffexp.config.build import OURS, build
from diffexp.config.catalogue import judge
from diffexp.config.check import all_at_once, check
from diffexp.config.kinds import check_kinds
from diffexp.diffusion import ClosedForm
from diffexp.diffusion.denoiser import Precision, build_denoiser
from diffexp.errors import DataError
from diffexp.model.find import MODEL, Description, describe, find, read
from diffexp.model.model import Model
from diffexp.model.weights import holding_together, load_weights, name_of, no_larger_than, weights_of

MODEL_PLACES = {"schedule": "snr"}  # the rest of a model's nodes are named like their groups


@dataclass(frozen=True)
class Restored:
    """class_names: of the labels, or None; config: of the training run; step: of the optimizer."""

    model: Model
    class_names: tuple[str, ...] | None
    config: dict[str, Any]
    step: int
    path: Path


def restore(
    path: str | Path,
    average: int | None = 0,
    plugins: Sequence[str] = (),
    precision: Precision | None = None,
) -> Restored:
    """The model of a checkpoint or run folder, on the CPU; average: of its weights, None for those that are
    trained. Raises DataError, ConfigError.

    Only classes of diffexp and of `plugins` are built: a checkpoint may be a stranger's.
    """
    found = find(path)
    checkpoint = read(found)
    told = describe(checkpoint, found)
    weights = weights_of(checkpoint["state_dict"], average, found)
    with holding_together(found):
        return _built(told, weights, average, tuple(plugins), precision, found)


def _built(
    told: Description,
    weights: Mapping[str, Tensor],
    average: int | None,
    plugins: tuple[str, ...],
    precision: Precision | None,
    path: Path,
) -> Restored:
    nodes = judged({key: told.config["model"][key] for key in MODEL}, plugins, MODEL_PLACES)
    check(nodes, (*OURS, *plugins))
    parts = {key: build(node, f"model.{key}", (*OURS, *plugins)) for key, node in nodes.items()}
    check_kinds({MODEL_PLACES.get(key, key): made for key, made in parts.items()})
    codec, conditioning = parts.pop("codec"), parts["conditioning"]
    count = None if told.classes is None else len(told.classes)
    if closed(parts["network"]):
        raise DataError("its network has no weights", str(path), "use a checkpoint of task=train")
    precision = cast(Precision, precision or told.config.get("precision", "fp32"))
    ours = str(nodes["network"]["_target_"]).startswith("diffexp.")  # another may build more than it keeps
    with no_larger_than(weights, path) if ours else nullcontext():
        denoiser = build_denoiser(told.shape, count, precision=precision, **parts)
    load_weights(denoiser.network, weights, path)
    denoiser.eval().requires_grad_(False)
    classes, name = conditioning.classes(count), name_of(told.decays, average)
    model = Model(denoiser, conditioning, codec, told.shape, classes, weights=name)
    return Restored(model, told.classes, told.config, told.step, path)


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


def load(path: str | Path, ema: bool = True) -> Model:
    """The model of a checkpoint or run folder, for diffexp.sample. Raises DataError."""
    return restore(path, 0 if ema else None).model
