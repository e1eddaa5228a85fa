"""A model from a checkpoint, which holds the configuration that it was trained with.

What the command line then gives are the groups that sampling reads; those that it does not name, and the
values of them that it does not set, are the training run's own.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

from diffexp.diffusion import Autoguidance, ClassifierGuidance, ClosedForm, Denoiser
from diffexp.diffusion.denoiser import Precision, build_denoiser
from diffexp.errors import ConfigError, DataError
from diffexp.experiment.build import OURS, build
from diffexp.experiment.check import check
from diffexp.experiment.job import Job
from diffexp.experiment.names import nearest
from diffexp.experiment.stored import find, read, written
from diffexp.samplers import Model
from diffexp.training.checkpoint import digest, read_checkpoint
from diffexp.training.ema import EMA

SAMPLING = ("sampler", "guidance", "clip", "metrics", "data")
MODEL = ("network", "schedule", "prediction", "variance", "conditioning", "codec")
TRAINED = (
    "network", "schedule", "snr", "prediction", "variance", "objective", "weighting", "times", "terms",
    "conditioning", "codec", "optimizer", "lr", "ema", "loader", "model", "experiment", "callbacks",
    "compile",
)  # fmt: skip


@dataclass(frozen=True)
class Restored:
    """class_names: of the labels, or None; config: of the training run; step: of the optimizer."""

    model: Model
    class_names: tuple[str, ...] | None
    config: dict[str, Any]
    step: int
    path: Path


def ready(job: Job, ckpt: str | None, ema: bool = True) -> tuple[Restored, dict[str, Any]]:
    """The model of `ckpt`, with its guide where guidance wants one, and the nodes of SAMPLING.

    Without ckpt the network is a closed form, and all the rest is the job's own. Raises DiffexpError.
    """
    if ckpt is None:
        restored, nodes = _closed_form(job), {group: job.config[group] for group in SAMPLING}
        name = f"{job.config['model']} {job.config['data']}"
        return restored, _with_measured(job, restored, nodes, lambda: name)
    plugins, precision = job.config["plugins"], precision_of(job)
    restored = _kept(ckpt, 0 if ema else None, plugins, precision)
    nodes = sampling_config(job, restored.config)
    guidance = build(nodes["guidance"], "guidance", job.allowed)
    if isinstance(guidance, Autoguidance):
        guide = _guide(_kept(guidance.ckpt or ckpt, guidance.ema, plugins, precision).model, restored.model)
        restored = replace(restored, model=replace(restored.model, guide=guide.to(device_of(job))))
    if isinstance(guidance, ClassifierGuidance):
        classify = _classifier(guidance, restored.model).to(device_of(job))
        restored = replace(restored, model=replace(restored.model, classify=classify))
    return restored, _with_measured(job, restored, nodes, lambda: f"{digest(restored.path)} {ema}")


def _guide(guide: Model, model: Model) -> Denoiser:
    """The worse model of autoguidance. Raises ConfigError for one of other data or another schedule."""
    same = (guide.shape, guide.classes) == (model.shape, model.classes)
    a, b = guide.denoiser.schedule.angles, model.denoiser.schedule.angles
    if not same or a.shape != b.shape or not torch.equal(a, b):
        what = "the guide is of other images, classes or another schedule than the model"
        raise ConfigError(what, "guidance.ckpt", "give a run of the same data and schedule")
    return guide.denoiser


def _classifier(guidance: ClassifierGuidance, model: Model) -> nn.Module:
    """The network of a run of task=classifier. Raises ConfigError, DataError."""
    if guidance.ckpt is None:
        do = "type guidance.ckpt=RUN, a run of task=classifier"
        raise ConfigError("guidance=classifier needs a classifier", "guidance.ckpt", do)
    path = find(guidance.ckpt)
    checkpoint = read_checkpoint(path)
    told = checkpoint["diffexp"]
    if told.get("kind") != "classifier":
        raise ConfigError("this is no run of task=classifier", "guidance.ckpt", "train one: task=classifier")
    check({"network": told["network"]}, OURS)
    network: nn.Module = build(told["network"], "network", OURS)
    fits = (told["network"]["in_channels"], told["network"]["image_size"], told["network"]["image_size"])
    if fits != tuple(model.shape):
        what = f"the classifier is of images of {fits}, the model makes {tuple(model.shape)}"
        raise ConfigError(what, "guidance.ckpt", "train one with task.ckpt of this model's run")
    network.load_state_dict(checkpoint["state_dict"])
    return network.eval().requires_grad_(False)


def _with_measured(
    job: Job, restored: Restored, nodes: dict[str, Any], name: Callable[[], str]
) -> dict[str, Any]:
    from diffexp.experiment.measured import filled

    sampler = filled(job, nodes["sampler"], restored.model, name, nodes["data"], device_of(job))
    return nodes | {"sampler": sampler}


def _closed_form(job: Job) -> Restored:
    config, data = job.config, job.build("data")
    parts = {key: build(config["model"][key], f"model.{key}", job.allowed) for key in MODEL}
    network = parts["network"]
    if not issubclass(getattr(network, "func", object), ClosedForm):
        do = "type task.ckpt=RUN, or network=ideal, gaussian or mixture, which need none"
        raise ConfigError("task.ckpt must be set", "task.ckpt", do)
    codec, conditioning = parts.pop("codec"), parts["conditioning"]
    names = data.classes
    denoiser = build_denoiser(data.shape, names and len(names), precision=config["precision"], **parts)
    model = Model(
        denoiser.eval(), conditioning, codec, data.shape, conditioning.classes(names and len(names))
    )
    return Restored(model, names, config, 0, Path())


def _kept(path: str, average: int | None, plugins: Sequence[str], precision: Precision | None) -> Restored:
    """`restore`, kept from the check to the run, and from job to job of a sweep."""
    found = find(path)
    return _restored(found, written(found), average, tuple(plugins), precision)


@lru_cache(maxsize=2)
def _restored(path: Path, written: int, *more: Any) -> Restored:
    return restore(path, *more)


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
    told = checkpoint["diffexp"]
    if "config" not in told:
        do = "give a run of task=train; this one is for guidance.ckpt"
        raise DataError("the checkpoint holds no model of images", str(found), do)
    config, allowed = told["config"], (*OURS, *plugins)
    nodes = {key: config["model"][key] for key in MODEL}
    check(nodes, allowed)
    parts = {key: build(node, f"model.{key}", allowed) for key, node in nodes.items()}
    codec, conditioning = parts.pop("codec"), parts["conditioning"]
    shape, names = tuple(told["shape"]), told["classes"]
    denoiser = build_denoiser(
        shape, names and len(names), precision=precision or config["precision"], **parts
    )
    _load(denoiser, checkpoint["state_dict"], average, found)
    classes = conditioning.classes(names and len(names))
    weights = EMA(tuple(config["model"]["ema"]["decays"])).name(average)
    model = Model(denoiser.eval().requires_grad_(False), conditioning, codec, shape, classes, weights=weights)
    return Restored(model, names and tuple(names), config, told["step"], found)


def load(path: str | Path, ema: bool = True) -> Model:
    """The model of a checkpoint or run folder, for diffexp.sample. Raises DataError."""
    return restore(path, 0 if ema else None).model


def _load(denoiser: Denoiser, state: Mapping[str, Any], average: int | None, path: Path) -> None:
    prefix = "denoiser.network." if average is None else f"ema.networks.{average}."
    weights = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
    if not weights:
        do = "type task.ema=false (or guidance.ema=null) for the weights being trained"
        raise DataError(f"the checkpoint holds no averaged weights of number {average}", str(path), do)
    try:
        denoiser.network.load_state_dict(weights)
    except RuntimeError as error:
        what = f"the weights do not fit the network: {' '.join(str(error).split())[:200]}"
        raise DataError(what, str(path), "use the version of diffexp that wrote it") from error


def sampling_config(job: Job, trained: Mapping[str, Any]) -> dict[str, Any]:
    """The nodes of SAMPLING: of the job where it names an option, else of the training run.

    Raises ConfigError for what only training reads, and for values that the run's own option has not.
    """
    typed = [t.lstrip("+~").split("=", 1)[0] for t in job.typed]
    for key in typed:
        if key.split(".")[0].split("@")[0] in TRAINED:
            do = "leave it away, or train with it"
            raise ConfigError(f"{key} is of the training run: the checkpoint holds it", key, do)
    nodes = {}
    for group in SAMPLING:
        nodes[group] = job.config[group] if group in typed else trained[group]
        if group not in typed:
            for key in (k for k in typed if k.startswith(f"{group}.")):
                nodes[group] = _with(nodes[group], job.config[group], key.split(".")[1:], key, trained)
    return nodes


def _with(
    node: Any, composed: Any, keys: Sequence[str], path: str, trained: Mapping[str, Any]
) -> dict[str, Any]:
    """`node` with the value of `composed` at `keys`."""
    if not isinstance(node, Mapping) or keys[0] not in node:
        group = path.split(".")[0]
        option = trained.get("choices", {}).get(group, group)
        near = nearest(keys[0], [k for k in node if not k.startswith("_")])
        do = f"type {group}.{near}=..." if near else f"name the option as well: {group}=... {path}=..."
        raise ConfigError(f"the {group} of this run, {option}, has no {keys[0]}", path, do)
    value = composed[keys[0]]
    return {
        **node,
        keys[0]: value if len(keys) == 1 else _with(node[keys[0]], value, keys[1:], path, trained),
    }


def precision_of(job: Job) -> Precision | None:
    """The precision that was typed, or None for that of the training run."""
    return job.config["precision"] if any(t.startswith("precision=") for t in job.typed) else None


def device_of(job: Job) -> torch.device:
    """Where the trainer group says that the work is done. Raises ConfigError when that is not there."""
    accelerator = job.config["trainer"].get("accelerator", "cpu")
    wanted, there = accelerator in ("gpu", "cuda"), torch.cuda.is_available()
    if wanted and not there:
        raise ConfigError("there is no CUDA device", "trainer", "type trainer=cpu")
    if job.config["precision"] == "fp16" and not there:
        raise ConfigError("float16 needs a CUDA device", "precision", "type precision=bf16 or precision=fp32")
    return torch.device("cuda" if wanted or (accelerator == "auto" and there) else "cpu")
