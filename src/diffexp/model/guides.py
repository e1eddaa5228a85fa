"""The second network of a guidance: a worse model for autoguidance, a classifier for classifier guidance."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from diffexp.archive import plain
from diffexp.config.build import OURS
from diffexp.config.check import check
from diffexp.diffusion import ClassifierGuidance, Denoiser
from diffexp.errors import ConfigError, DataError
from diffexp.model.checkpoint import read_checkpoint
from diffexp.model.find import find
from diffexp.model.model import Model
from diffexp.model.weights import holding_together, load_weights, no_larger_than
from diffexp.networks.noisy_classifier import NoisyClassifier

CLASSIFIER = "diffexp.networks.noisy_classifier.NoisyClassifier"


def guide_of(guide: Model, model: Model) -> Denoiser:
    """The worse model of autoguidance. Raises ConfigError for one of other data or another schedule."""
    same = (guide.shape, guide.classes) == (model.shape, model.classes)
    a, b = guide.denoiser.schedule.angles, model.denoiser.schedule.angles
    if not same or a.shape != b.shape or not torch.equal(a, b):
        what = "the guide is of other images, classes or another schedule than the model"
        raise ConfigError(what, "guidance.ckpt", "give a run of the same data and schedule")
    return guide.denoiser


def classifier_of(guidance: ClassifierGuidance, model: Model) -> nn.Module:
    """The network of a run of task=classifier. Raises ConfigError, DataError."""
    if guidance.ckpt is None:
        do = "type guidance.ckpt=RUN, a run of task=classifier"
        raise ConfigError("guidance=classifier needs a classifier", "guidance.ckpt", do)
    path = find(guidance.ckpt)
    checkpoint = read_checkpoint(path)
    told = checkpoint["diffexp"]
    if told.get("kind") != "classifier":
        raise ConfigError("this is no run of task=classifier", "guidance.ckpt", "train one: task=classifier")
    options, weights = plain(told.get("network"), "network", path), checkpoint.get("state_dict")
    if not isinstance(options, dict) or options.pop("_target_", None) != CLASSIFIER:
        raise DataError("its network is no classifier of diffexp", str(path), "train one: task=classifier")
    if not isinstance(weights, Mapping) or not all(isinstance(w, Tensor) for w in weights.values()):
        raise DataError("its weights are no tensors", str(path), "train one: task=classifier")
    check({"network": {"_target_": CLASSIFIER, **options}}, OURS, construct=False)
    fits = (options["in_channels"], options["image_size"], options["image_size"])
    if fits != tuple(model.shape):
        what = f"the classifier is of images of {fits}, the model makes {tuple(model.shape)}"
        raise ConfigError(what, "guidance.ckpt", "train one with task.ckpt of this model's run")
    with holding_together(path), no_larger_than(weights, path):
        network = NoisyClassifier(**options)
    load_weights(network, weights, path)
    return network.eval().requires_grad_(False)
