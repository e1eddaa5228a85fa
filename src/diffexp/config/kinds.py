"""The type that each place of a configuration asks for: a sampler where a sampler stands."""

import inspect
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from diffexp.errors import ConfigError

KINDS = {  # the type of what stands in a place; of protocols the methods count
    "sampler": "diffexp.samplers.sampler:Sampler",
    "guidance": "diffexp.diffusion.guidance:Guidance",
    "clip": "diffexp.diffusion.clip:Clip",
    "metrics": "diffexp.metrics.metric_set:MetricSet",
    "metrics.extractor": "diffexp.metrics.extractor:Extractor",
    "metrics.metrics[]": "diffexp.metrics.metric:Metric",
    "data": "diffexp.data.dataset:DataSet",
    "data.caption": "diffexp.data.captions:Captions",
    "data.buckets": "diffexp.data.buckets:Buckets",
    "network": "torch.nn:Module",
    "autoencoder": "diffexp.training.autoencoder_module:AutoencoderModule",
    "autoencoder.network": "torch.nn:Module",
    "autoencoder.adversarial": "diffexp.training.autoencoder_adversarial:Adversarial",
    "schedule": "diffexp.diffusion.schedule:Schedule",
    "snr": "diffexp.diffusion.schedule:Schedule",
    "prediction": "diffexp.diffusion.prediction:Parameterization",
    "variance": "diffexp.diffusion.variance:Variance",
    "conditioning": "diffexp.conditioning:Conditioning",
    "text_encoder": "diffexp.conditioning.encoders:TextEncoder",
    "codec": "diffexp.codecs:Codec",
    "weighting": "diffexp.diffusion.weighting:Weighting",
    "times": "diffexp.diffusion.times:Times",
    "terms.*": "diffexp.diffusion.objective:Term",
    "objective": "diffexp.diffusion.objective:Objective",
    "tune": "diffexp.model.trainable:Trainable",
    "optimizer": "torch.optim:Optimizer",
    "lr": "diffexp.training.lr:LearningRate",
    "ema": "diffexp.training.ema:EMA",
    "callbacks.*": "lightning:Callback",
    "logger": "diffexp.training.tracker:Tracker",
    "task": "diffexp.run.job:Task",
    "trainer": "lightning:Trainer",
}


def kind_of(place: str) -> Any:
    """Return the type of what stands in a place, None where any will do."""
    if place not in KINDS:
        return None
    module, _, name = KINDS[place].partition(":")
    return getattr(import_module(module), name)


def is_kind(cls: Any, kind: Any) -> bool:
    """Return whether a class is of a kind: a subclass, or with the methods of a protocol."""
    if not getattr(kind, "_is_protocol", False):
        return issubclass(cls, kind)
    methods = {n: v for n, v in vars(kind).items() if not n.startswith("_") or n == "__call__"}
    wanted = [n for n, v in methods.items() if getattr(v, "__isabstractmethod__", False)] or list(methods)
    return all(hasattr(cls, n) for n in wanted)


def check_kinds(parts: Mapping[str, Any]) -> None:
    """Raise ConfigError where what was built for a place is not of its kind; places are the keys."""
    for place, made in parts.items():
        kind, made = kind_of(place), getattr(made, "func", made)
        if kind is None or (inspect.isroutine(made) and place == "network"):
            continue
        if not is_kind(made if inspect.isclass(made) else type(made), kind):
            what = f"{place} is {type(made).__name__}, and no {kind.__name__}"
            raise ConfigError(what, place, "use a file of a run of diffexp")
