"""The second network of a guidance: a worse model for autoguidance, a classifier for classifier guidance."""

from typing import Any

import torch
from torch import Tensor, nn

from diffexp.archive import is_dict, is_mapping, plain
from diffexp.config.build import OURS
from diffexp.config.check import check
from diffexp.diffusion.guidance import Guide
from diffexp.errors import ConfigError, DataError
from diffexp.model.checkpoint import read_checkpoint
from diffexp.model.find import find, named_by
from diffexp.model.model import Model
from diffexp.model.weights import holding_together, load_weights, no_larger_than
from diffexp.networks.noisy_classifier import NoisyClassifier

CLASSIFIER = "diffexp.networks.noisy_classifier.NoisyClassifier"
_ASKED = {"label": "classes", "text": "captions"}


def guide_of(name: str, guide: Model, model: Model) -> nn.Module:
    """The worse model of autoguidance, which reads the captions that are asked for by its own text encoder.
    Raises ConfigError for one of other data or another schedule, or that wants to know more than the model.
    """
    if what := _difference(guide, model):
        do = "give a run of the same data and schedule, that is told no more than the model"
        raise ConfigError(what, "guidance.ckpt", do)
    if not _same_space(guide, model):
        what = "the guide works in other latents than the model"
        raise ConfigError(what, "guidance.ckpt", "give a run with the same autoencoder and scale")
    if _same_conditions(guide, model):
        return guide.denoiser
    return Guide(name, guide.denoiser, guide.conditioning)


def _difference(guide: Model, model: Model) -> str:
    """Return why a model cannot guide another; "" where it can."""
    if guide.shape != model.shape:
        return f"the guide is of other images than the model: {guide.shape}, not {model.shape}"
    if more := [_ASKED.get(name, name) for name in guide.conditioning.asks if name not in _asks(model)]:
        return f"the guide wants {' and '.join(more)}, which are not asked for of this model"
    classes, own = (len(one.class_names or ()) for one in (guide, model))
    if "label" in guide.conditioning.asks and classes != own:
        return f"the guide knows {classes} classes, and the model {own}"
    a, b = guide.denoiser.schedule.angles, model.denoiser.schedule.angles
    if a.shape != b.shape or not torch.equal(a, b):
        return "the guide is of another schedule than the model"
    return ""


def _asks(model: Model) -> tuple[str, ...]:
    return model.conditioning.asks


def _same_space(guide: Model, model: Model) -> bool:
    """Return whether both mean the same by x."""
    a, b = guide.codec, model.codec
    return type(a) is type(b) and (a.card(), a.learned()) == (b.card(), b.learned())


def _same_conditions(guide: Model, model: Model) -> bool:
    """Return whether both make the same condition of the same classes; captions are read by each of them."""
    a, b = guide.conditioning.state_dict(), model.conditioning.state_dict()
    same = (type(guide.conditioning), _asks(guide)) == (type(model.conditioning), _asks(model))
    return same and "text" not in _asks(model) and not a and not b


def classifier_of(ckpt: str | None, model: Model) -> nn.Module:
    """The network of a run of task=classifier. Raises ConfigError, DataError."""
    if ckpt is None:
        do = "type guidance.ckpt=RUN, a run of task=classifier"
        raise ConfigError("guidance=classifier needs a classifier", "guidance.ckpt", do)
    with named_by("guidance.ckpt"):
        path = find(ckpt, "guidance.ckpt")
        checkpoint = read_checkpoint(path)
    told = checkpoint["diffexp"]
    if told.get("kind") != "classifier":
        raise ConfigError("this is no run of task=classifier", "guidance.ckpt", "train one: task=classifier")
    options, weights = plain(told.get("network"), "network", path), checkpoint.get("state_dict")
    if not is_dict(options) or options.pop("_target_", None) != CLASSIFIER:
        raise DataError("its network is no classifier of diffexp", str(path), "train one: task=classifier")
    if not is_mapping(weights) or not all(isinstance(w, Tensor) for w in weights.values()):
        raise DataError("its weights are no tensors", str(path), "train one: task=classifier")
    check({"network": {"_target_": CLASSIFIER, **options}}, OURS, construct=False)
    fits = (options["in_channels"], *_sides(options["image_size"]))
    if fits != tuple(model.latent_shape):
        what = f"the classifier is of images of {fits}, the model makes {tuple(model.latent_shape)}"
        raise ConfigError(what, "guidance.ckpt", "train one with task.ckpt of this model's run")
    with holding_together(path), no_larger_than(weights, path):
        network = NoisyClassifier(**options)
    load_weights(network, weights, path)
    return network.eval().requires_grad_(False)


def _sides(size: Any) -> tuple[int, int]:
    """Height and width of an image_size, which is one number where they are the same."""
    return (size, size) if isinstance(size, int) else tuple(size)
