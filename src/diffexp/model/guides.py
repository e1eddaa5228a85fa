"""The second network of a guidance: a worse model for autoguidance, a classifier for classifier guidance."""

from typing import Any

import torch
from torch import Tensor, nn

from diffexp.archive import is_dict, is_mapping, plain
from diffexp.config.build import OURS
from diffexp.config.check import check
from diffexp.diffusion import Denoiser
from diffexp.errors import ConfigError, DataError
from diffexp.model.checkpoint import read_checkpoint
from diffexp.model.find import find
from diffexp.model.model import Model
from diffexp.model.weights import holding_together, load_weights, no_larger_than
from diffexp.networks.noisy_classifier import NoisyClassifier

CLASSIFIER = "diffexp.networks.noisy_classifier.NoisyClassifier"


def guide_of(guide: Model, model: Model) -> Denoiser:
    """The worse model of autoguidance. Raises ConfigError for one of other data or another schedule."""
    same = (guide.shape, _told(guide)) == (model.shape, _told(model))
    a, b = guide.denoiser.schedule.angles, model.denoiser.schedule.angles
    if not same or a.shape != b.shape or not torch.equal(a, b):
        what = "the guide is of other images, classes or another schedule than the model"
        raise ConfigError(what, "guidance.ckpt", "give a run of the same data and schedule")
    if not _same_space(guide, model):
        what = "the guide works in other latents than the model"
        raise ConfigError(what, "guidance.ckpt", "give a run with the same autoencoder and scale")
    if not _same_conditions(guide, model):
        what = "the text encoder is trained along, and the guide has another: it would be told strange tokens"
        raise ConfigError(what, "guidance.ckpt", "use guidance=cfg, or a frozen text encoder in both runs")
    return guide.denoiser


def _same_space(guide: Model, model: Model) -> bool:
    """Return whether both mean the same by x."""
    a, b = guide.codec, model.codec
    return type(a) is type(b) and (a.card(), a.learned()) == (b.card(), b.learned())


def _same_conditions(guide: Model, model: Model) -> bool:
    """Return whether both make the same condition of the same captions."""
    a, b = guide.conditioning.state_dict(), model.conditioning.state_dict()
    known = guide.conditioning.learned() == model.conditioning.learned()
    return known and a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def _told(model: Model) -> tuple[Any, ...]:
    """Return what the network of a model is told, and of how many classes."""
    return model.conditioning.asks, model.class_names and len(model.class_names)


def classifier_of(ckpt: str | None, model: Model) -> nn.Module:
    """The network of a run of task=classifier. Raises ConfigError, DataError."""
    if ckpt is None:
        do = "type guidance.ckpt=RUN, a run of task=classifier"
        raise ConfigError("guidance=classifier needs a classifier", "guidance.ckpt", do)
    path = find(ckpt)
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
