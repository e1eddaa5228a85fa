"""A model from its parts: the codec says the shape of what the network sees, the conditioning what else."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from diffexp.codecs import Codec
from diffexp.conditioning import Conditioning
from diffexp.diffusion.denoiser import Denoiser, Precision
from diffexp.diffusion.prediction import Parameterization
from diffexp.diffusion.schedule import Schedule
from diffexp.diffusion.variance import Variance
from diffexp.errors import ConfigError
from diffexp.model.model import Model, Shape

_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
_AUTOCAST = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


def build_model(
    shape: Shape,
    class_names: Sequence[str] | None,
    network: Callable[..., nn.Module],
    schedule: Schedule,
    prediction: Parameterization,
    variance: Variance,
    conditioning: Conditioning,
    codec: Codec,
    precision: Precision = "fp32",
    weights: str = "as given",
    texts: Sequence[str] | None = None,
    learned: Mapping[str, Any] | None = None,
    of_codec: Mapping[str, Any] | None = None,
) -> Model:
    """Return the model of images of that shape, (C, H, W), whose classes have these names.

    network: called with image_size (an int, or (H, W) where they differ), in_channels, out_channels, and what
    the conditioning gives it: what is None only if it has such a parameter. texts: the captions of the
    training images, of which the conditioning learns words; learned, of_codec: what conditioning and codec
    have learned, of a checkpoint. Nothing is loaded yet: see Model.load. Raises ConfigError.
    """
    if learned is None:
        conditioning.fit(texts)
    else:
        conditioning.remember(learned)
    conditioning.setup(None if class_names is None else len(class_names))
    channels, height, width = codec.latent(shape)
    if of_codec is not None:
        codec.remember(of_codec)
    options = {
        "image_size": height if height == width else (height, width),
        "in_channels": channels,
        "out_channels": channels * variance.outputs,
        **conditioning.network(),
    }
    built = network(**_known(network, options))
    denoiser = Denoiser(built, schedule, prediction, variance, _AUTOCAST[precision])
    names = None if class_names is None else tuple(class_names)
    return Model(denoiser, conditioning, codec, shape, names, weights=weights)


def _known(network: Callable[..., Any], options: dict[str, Any]) -> dict[str, Any]:
    """The options without those that are None and that the network does not know. Raises ConfigError for one
    that it would have to know, or that it needs and that is not there.
    """
    params = inspect.signature(network).parameters
    wanted = [p.name for p in params.values() if p.default is p.empty and p.kind in _NAMED]
    if missing := [name for name in wanted if options.get(name) is None]:
        what = f"this network needs {', '.join(missing)}, which neither its options nor the conditioning give"
        raise ConfigError(what, "network", "take another conditioning, or another network")
    if any(p.kind is p.VAR_KEYWORD for p in params.values()):
        return options
    unknown = [name for name in options if name not in params]
    if missing := [name for name in unknown if options[name] is not None]:
        what = f"this network has no {', '.join(missing)}, which the conditioning gives it"
        raise ConfigError(what, "network", "take another network, or conditioning=none")
    return {name: value for name, value in options.items() if name not in unknown}
