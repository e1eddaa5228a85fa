"""The weights of a training run in a checkpoint of the newest format (model/format.py), and out again."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from diffexp.diffusion import Objective
from diffexp.errors import DataError
from diffexp.model.base import Base, check_base
from diffexp.model.format import FORMAT
from diffexp.model.model import Model
from diffexp.model.trainable import Trainable, detached, fill


def put_state(
    checkpoint: dict[str, Any],
    model: Model,
    averages: Sequence[Model],
    objective: Objective,
    tune: Trainable,
    base: Mapping[str, str],
    below: Base | None = None,
) -> None:
    """Put what is trained, its averages, and what the objective has learned into Lightning's checkpoint.

    base: digests of the weights that come from other files (`base_of`); below: the run below adapters.
    """
    del checkpoint["state_dict"]
    checkpoint["trained"] = detached(tune.state(model))
    checkpoint["ema"] = [detached(tune.state(average)) for average in averages]
    checkpoint["objective"] = objective.state_dict()
    checkpoint["diffexp"] = {
        "format": FORMAT,
        "shape": list(model.shape),
        "classes": None if model.class_names is None else list(model.class_names),
        "base": dict(base),
        "learned": model.conditioning.learned(),
        **({} if below is None else {"base_file": str(below.path)}),
    }
    if of_codec := model.codec.learned():
        checkpoint["diffexp"]["codec"] = of_codec


def take_state(
    checkpoint: Mapping[str, Any],
    model: Model,
    averages: Sequence[Model],
    objective: Objective,
    tune: Trainable,
    base: Mapping[str, str],
    path: Path,
) -> None:
    """Put what a checkpoint holds into its places. Raises DataError where it does not fit, naming it."""
    told = checkpoint["diffexp"]
    check_base(model, tune, base, told.get("base") or {}, path, told.get("config"))
    if (checkpoint["diffexp"].get("learned") or {}) != model.conditioning.learned():
        what = "the captions of the training images have other words than when the run was begun"
        do = f"put them back, or begin another run with its weights: init={path}"
        raise DataError(what, str(path), do)
    _check_images(checkpoint["diffexp"], model, path)
    model.codec.remember(checkpoint["diffexp"].get("codec") or {})
    tune.load(model, checkpoint["trained"], path)
    if len(checkpoint["ema"]) != len(averages):
        what = f"the checkpoint has {len(checkpoint['ema'])} averages, and the run {len(averages)}"
        raise DataError(what, str(path), "type the ema.decays that the run was begun with")
    for average, state in zip(averages, checkpoint["ema"], strict=True):
        tune.load(average, state, path)
    fill(objective.state_dict(keep_vars=True), checkpoint["objective"], path)


def _check_images(description: Mapping[str, Any], model: Model, path: Path) -> None:
    """Raise DataError for images of another shape, or where the network is told classes, of others."""
    shape, now = description.get("shape"), list(model.shape)
    do = f"put them back, or begin another run with its weights: init={path}"
    if shape != now:
        raise DataError(
            f"the images are now {now}, and were {shape} (channels, height, width)", str(path), do
        )
    names = None if model.class_names is None else list(model.class_names)
    before = description.get("classes")
    if hasattr(model.conditioning, "classes") and names != before:
        what = f"the classes of the images are now {few(names)}, and were {few(before)}"
        raise DataError(what, str(path), do)


def few(names: Sequence[str] | None) -> str:
    """Return the first of some names, for a message."""
    if not names:
        return "none"
    return ", ".join(names[:5]) + (f" and {len(names) - 5:,} more" if len(names) > 5 else "")
