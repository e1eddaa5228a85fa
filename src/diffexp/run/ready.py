"""The parts that a job samples with: the model of its checkpoint, and the groups that sampling reads.

What the command line gives are those groups; those that it does not name, and the values of them that it does
not set, are the training run's own.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from torch import nn

from diffexp.adapters.add import added, check_scales
from diffexp.codecs import Autoencoded
from diffexp.config.build import build
from diffexp.config.check import check
from diffexp.config.suggest import nearest
from diffexp.config.untrusted_paths import settled
from diffexp.data.dataset import DataSet
from diffexp.diffusion import Guidance
from diffexp.diffusion.denoiser import Precision
from diffexp.errors import ConfigError, DataError
from diffexp.model.build import build_model
from diffexp.model.checkpoint import digest
from diffexp.model.find import MODEL, find, named_by, written
from diffexp.model.guides import classifier_of, guide_of
from diffexp.model.model import Model
from diffexp.model.restore import Restored, closed, judged, restore
from diffexp.model.trainable import digest_of
from diffexp.notice import warn
from diffexp.run.calibrate import filled, provisional
from diffexp.run.job import Job, device_of
from diffexp.training.state import few

SAMPLING = ("sampler", "guidance", "clip", "metrics", "data")
PLACES = ("codec.ckpt", "codec.path")
TRAINED = (
    "network", "schedule", "snr", "prediction", "variance", "objective", "weighting", "times", "terms",
    "conditioning", "text_encoder", "codec", "optimizer", "lr", "ema", "loader", "model", "experiment",
    "callbacks", "compile", "init", "tune",
)  # fmt: skip


def ready(
    job: Job,
    ckpt: str | None,
    ema: float = True,
    measure: bool = False,
    adapters: Sequence[str] | None = None,
    scales: Sequence[float] | None = None,
) -> tuple[Restored, dict[str, Any]]:
    """Return the model of `ckpt`, with what its guidance needs beside it, and the nodes of SAMPLING.

    Without ckpt the network is a closed form, and all the rest is the job's own. measure: also
    calibrate the sampler on the model, which runs the network; without, as in a check, the sampler has
    something of the same size in its place. ema: which average (`average_of`). adapters:
    those of other runs, to be added with these scales. Raises DiffexpError.
    """
    scales = check_scales(adapters, scales)
    if ckpt is None:
        restored, nodes = _closed_form(job), {group: job.config[group] for group in SAMPLING}
        if measure:
            restored.model.load()
    else:
        restored = _trained(job, ckpt, ema, adapters or (), scales)
        nodes = sampling_config(job, restored.config, restored.path)
        restored = _helped(job, restored, build(nodes["guidance"], "guidance", job.allowed), ckpt)
    if not measure:
        return restored, nodes | {"sampler": provisional(nodes["sampler"])}

    def name() -> str:  # a digest of a large file takes seconds, and few samplers measure
        if ckpt is None:
            return f"{job.config['model']} {job.config['data']}"
        adapted = adapters or restored.tune.needs_base
        weights = f" {digest_of(restored.model.denoiser)}" if adapted else ""
        return f"{digest(restored.path)} {ema}{weights}"

    sampler = filled(job, nodes["sampler"], restored.model, name, nodes["data"], device_of(job))
    return restored, nodes | {"sampler": sampler}


def _trained(job: Job, ckpt: str, ema: float, adapters: Sequence[str], scales: Sequence[float]) -> Restored:
    """Return the model of a run, with adapters of others where there are some."""
    plugins, base = job.config["plugins"], base_typed(job)
    restored = _kept(ckpt, ema, plugins, precision_of(job), codec_of(job), None if adapters else base)
    return added(restored, adapters, scales, ema, plugins, base) if adapters else restored


def _helped(job: Job, restored: Restored, guidance: Guidance, ckpt: str) -> Restored:
    """Return the model with what the guidance needs beside it."""
    helpers = dict[str, nn.Module]()
    for name, need in guidance.needs().items():
        if need.kind == "classifier":
            helpers[name] = classifier_of(need.ckpt, restored.model)
        else:
            plugins, precision = job.config["plugins"], precision_of(job)
            base = None if need.ckpt or job.config["task"].get("adapters") else base_typed(job)
            with named_by("guidance.ckpt" if need.ckpt else "task.ckpt"), _of_guidance():
                other = _kept(need.ckpt or ckpt, need.ema, plugins, precision, codec_of(job), base)
            helpers[name] = guide_of(name, other.model, restored.model)
    return replace(restored, model=restored.model.helped(helpers)) if helpers else restored


@contextmanager
def _of_guidance() -> Iterator[None]:
    """Say of an average that is not there that it was named by guidance.ema."""
    try:
        yield
    except ConfigError as error:
        if error.where != "task.ema":
            raise
        do = error.do.replace("task.ema=false", "guidance.ema=null").replace("task.ema=", "guidance.ema=")
        raise ConfigError(error.what, "guidance.ema", do) from error


def _closed_form(job: Job) -> Restored:
    config, data = job.config, job.build("data")
    parts = {key: build(config["model"][key], f"model.{key}", job.allowed) for key in MODEL}
    if not closed(parts["network"]):
        do = "type task.ckpt=RUN, or network=ideal, gaussian or mixture, which need none"
        raise ConfigError("task.ckpt must be set", "task.ckpt", do)
    if isinstance(parts["codec"], Autoencoded):
        what = "a denoiser in closed form is of pixels, for the scale of latents is measured in a training"
        raise ConfigError(what, "codec", "type codec=pixels")
    texts = None
    if "text" in parts["conditioning"].asks:
        if parts["network"].func.__module__.startswith("diffexp."):
            what = "a network in closed form knows classes, and is told no captions"
            do = "type conditioning=class or none, or train a network, and give its run by task.ckpt=RUN"
            raise ConfigError(what, "conditioning", do)
        captions = data.split("train").captions
        texts = None if captions is None else captions.every()
    model = build_model(data.shape, data.classes, precision=config["precision"], texts=texts, **parts)
    return Restored(model.eval(), config, 0, Path())


def base_typed(job: Job) -> str | None:
    """Return where the base of an adapted run lies now, None where the run is to say it."""
    return (job.config.get("tune") or {}).get("base")


def _kept(
    path: str,
    ema: float | None,
    plugins: Sequence[str],
    precision: Precision | None,
    codec: str | None = None,
    base: str | None = None,
) -> Restored:
    """Restore a model, kept from the check to the run, and from job to job of a sweep."""
    file = find(path)
    return _restored(file, written(file), ema, tuple(plugins), precision, codec, base)


@lru_cache(maxsize=2, typed=True)  # for 1 is another average than true
def _restored(path: Path, written: int, *more: Any) -> Restored:
    return restore(path, *more)


def sampling_config(job: Job, trained: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Return the nodes of SAMPLING: of the job where it names an option, else of the training run, whose
    checkpoint lies at `path`.

    Raises ConfigError for what only training reads, for values that the run's own option has not, and for
    what a file may not name.
    """
    typed = [t.lstrip("+~").split("=", 1)[0] for t in job.typed]
    for key in typed:
        if key.split(".")[0].split("@")[0] in TRAINED and key not in ("codec", "tune.base", *PLACES):
            do = "leave it away, or train with it"
            raise ConfigError(f"{key} is of the training run: the checkpoint holds it", key, do)
    stored = {}
    for group in (g for g in SAMPLING if g not in typed):
        if not isinstance(trained.get(group), Mapping):
            raise DataError(f"config.{group} of the checkpoint is missing", str(path), f"type {group}=...")
        stored[group] = trained[group]
        for key in (k for k in typed if k.startswith(f"{group}.")):
            stored[group] = with_typed(stored[group], job.config[group], key.split(".")[1:], key, trained)
    nodes = settled(judged(stored, job.plugins), typed, job.config["data_root"], path)
    check(nodes, job.allowed)
    return {group: nodes.get(group, job.config[group]) for group in SAMPLING}


def with_typed(node: Any, composed: Any, keys: Sequence[str], path: str, trained: Mapping[str, Any]) -> Any:
    """Return `node` with the value of `composed` at `keys`."""
    if isinstance(node, list) and isinstance(composed, list) and keys[0].isdecimal():
        i = int(keys[0])
        if i < min(len(node), len(composed)):
            value = (
                composed[i] if len(keys) == 1 else with_typed(node[i], composed[i], keys[1:], path, trained)
            )
            return [*node[:i], value, *node[i + 1 :]]
    if not isinstance(node, Mapping) or not isinstance(composed, Mapping) or keys[0] not in node:
        group = path.split(".")[0]
        choices = trained.get("choices")
        option = choices.get(group, group) if isinstance(choices, Mapping) else group
        known = node if isinstance(node, Mapping) else ()
        near = nearest(keys[0], [k for k in known if not k.startswith("_")])
        do = f"type {group}.{near}=..." if near else f"name the option as well: {group}=... {path}=..."
        raise ConfigError(f"the {group} of this run, {option}, has no {keys[0]}", path, do)
    value = composed.get(keys[0])
    return {
        **node,
        keys[0]: value if len(keys) == 1 else with_typed(node[keys[0]], value, keys[1:], path, trained),
    }


def codec_of(job: Job) -> str | None:
    """Return where the autoencoder of a model lies now, if that was typed; None for where it lay."""
    typed = [text.lstrip("+~").partition("=")[0] for text in job.typed]
    places = [job.config["codec"].get(key.partition(".")[2]) for key in PLACES if key in typed]
    if "codec" in typed and not any(places):
        what, do = "codec is of the training run: the checkpoint holds it", "leave it away, or train with it"
        raise ConfigError(what, "codec", do)
    return next(filter(None, places), None)


def precision_of(job: Job) -> Precision | None:
    """Return the precision that was typed, or None for that of the training run."""
    return job.config["precision"] if any(t.startswith("precision=") for t in job.typed) else None


def check_images(model: Model, data: DataSet) -> None:
    """Raise ConfigError for images that are not those of the model: of another shape, or where it is told
    their classes, of more than it knows. Warn where these have other names.
    """
    do = "leave data away, for that of the run, and see that its folder is as it was"
    if tuple(data.shape) != tuple(model.shape):
        what = f"the model makes images of {model.shape}, the data has {data.shape}"
        raise ConfigError(what, "data", do)
    if "label" not in model.conditioning.asks or data.classes == model.class_names:
        return
    known, there = few(model.class_names), few(data.classes)
    if len(data.classes or ()) != len(model.class_names or ()):
        raise ConfigError(f"the model knows the classes {known}, and the data has {there}", "data", do)
    warn(f"the data has the classes {there}, which are taken for {known} of the model, by their numbers")
