"""What a training is made of, and whether its parts fit together: all that does not is said at once."""

import itertools
from collections.abc import Callable, Mapping
from functools import partial, wraps
from typing import Any

import torch
from torch import nn

from diffexp.conditioning import Unconditional
from diffexp.data import DataSet
from diffexp.diffusion.objective import Term
from diffexp.errors import ConfigError, Problems
from diffexp.metrics.evaluator import Evaluator
from diffexp.model.base import ANY, Base, check_like, read_base
from diffexp.model.model import Model
from diffexp.notice import say
from diffexp.run.job import Job, device_of
from diffexp.training.bucket_checks import check_buckets
from diffexp.training.budget import budget_of
from diffexp.training.data_module import DataModule
from diffexp.training.drift import checked_base
from diffexp.training.early_stopping import EarlyStopping
from diffexp.training.module import DiffusionModule
from diffexp.training.picture_checks import check_pictures
from diffexp.training.prior_images import prior_of

_NO_CONDITION = {"conditioning": Unconditional()}


def checked_module(job: Job, loader: DataModule) -> DiffusionModule:
    """Return the module, for its shapes. Raises ConfigError with all that does not fit together."""
    problems, module = Problems(), None
    with problems:
        check_numbers(job)
    loader.batch(len(loader.data.split("train")))
    # without the network, or without the condition, the rest is checked all the same
    ways = itertools.product((_without_memory, _stand_in), ({}, _NO_CONDITION))
    for by, parts in ways:
        with problems:
            module = module or build_module(job, loader, by, parts)
    with problems:
        job.build("evaluator").check(loader.data, None if module is None else module.averaged())
    with problems:
        if module is not None:
            check_buckets(module.model, loader)
    with problems:
        if module is not None:
            check_pictures(module.model, loader)
    with problems:
        check_stopping(job)
    problems.all_at_once()
    assert module is not None
    return module


def check_numbers(job: Job) -> None:
    """Raise ConfigError, with all problems, for what Lightning would refuse in words of its own, after the
    checks, and for another on_divergence than there are.
    """
    problems, trainer = Problems(), job.config["trainer"]
    with problems:
        if job.config["on_divergence"] not in ("stop", "rollback"):
            what = f"on_divergence={job.config['on_divergence']}"
            raise ConfigError(what, "on_divergence", "give stop or rollback")
    with problems:
        for key in ("max_steps", "accumulate_grad_batches", "devices", "num_nodes"):
            value = trainer.get(key)
            if isinstance(value, int) and value < 1 and not (key == "devices" and value == -1):
                raise ConfigError(f"{key}={value}", f"trainer.{key}", "give 1 or more")
    with problems:
        budget_of(trainer)
    problems.all_at_once()


def check_stopping(job: Job) -> None:
    """Raise ConfigError where the training is to end by a metric that is not measured in it."""
    evaluator: Evaluator = job.build("evaluator")
    for callback in job.build("callbacks").values():
        if isinstance(callback, EarlyStopping):
            callback.check(samples=evaluator.every > 0, own=bool(job.plugins))


def check_terms(terms: Mapping[str, Term], shape: tuple[int, int, int]) -> None:
    """Raise DiffexpError for a term that lacks something, or is not for images (C, H, W) of that shape."""
    for name, term in terms.items():
        term.check()
        if (check := getattr(term, "check_shape", None)) is not None:
            check(shape, f"terms.{name}")


def headline(module: DiffusionModule, loader: DataModule) -> str:
    """Return one line on what is about to be trained."""
    millions = sum(p.numel() for p in module.denoiser.network.parameters()) / 1e6
    maps = ", ".join(getattr(module.denoiser.network, "maps", ()))
    levels = f", maps of {maps}" if maps else ""
    return f"{about_data(loader)}; network of {millions:.2f} M parameters{levels}"


def about_data(loader: DataModule) -> str:
    """Return a few words on the images: their size, how many there are in each split, their classes."""
    counts = ", ".join(f"{len(loader.data.split(s)):,} {s}" for s in ("train", "val", "test"))
    channels, height, width = loader.shape
    size = f"{height}x{width}x{channels}"
    names = loader.classes or ()
    some = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
    classes = f"; {len(names):,} classes: {some}" if names else ""
    images = loader.data.bucketed("train")
    buckets = "" if images is None else f"; buckets: {images.sorted.words()}"
    return f"{loader.name}: {size} images, {counts}{classes}{buckets}"


def build_module(
    job: Job,
    loader: DataModule,
    by: Callable[..., nn.Module] | None = None,
    parts: Mapping[str, Any] | None = None,
) -> DiffusionModule:
    """Build what is trained. by: builds the network, called with its constructor and options; parts: in place
    of the configured ones.
    """
    make = partial(job.build("model"), **(parts or {}))
    if by is not None:
        network = make.keywords["network"]
        make = partial(make, network=wraps(network)(partial(by, network)))
    below = base_below(job)
    told = {"shape": loader.shape, "classes": loader.classes, "texts": loader.texts}
    try:
        return make(config=job.public(), below=below, **told)
    except ConfigError as error:
        if below is None or not error.where.startswith("conditioning="):
            raise
        needs = "captions" if "text" in error.where else "classes"
        do = f"give images with {needs}, which the base was trained with: {below.path}"
        raise ConfigError(error.what, "data", do) from error


def base_below(job: Job) -> Base | None:
    """Return the run that is adapted, None where none is to be. Raises DiffexpError."""
    tune, init = job.build("tune"), job.config.get("init")
    if not tune.needs_base:
        return None
    if not init:
        what = f"tune={(job.choices or {}).get('tune', '...')} adapts another run"
        raise ConfigError(what, "init", "type init=RUN, the run that is to be adapted")
    base = read_base(str(init)) if tune.base in (None, ANY) else read_base(tune.base, "tune.base")
    check_like(base, job.config["model"])
    return base


def base_path(job: Job) -> str | None:
    """Return the run that a training begins with, or adapts, where it lies now; None for none."""
    tune = job.build("tune")
    return tune.base if tune.needs_base and tune.base not in (None, ANY) else job.config.get("init")


def check_begin(job: Job, model: Model, data: DataSet) -> None:
    """Raise DiffexpError where the drift from the base cannot be measured, or the base cannot make the prior
    images that are asked for; say of these, in a dry run, whether they are there.
    """
    init = base_path(job)
    if job.config["evaluator"].get("drift") and init:
        checked_base(init, model)
    for part in prior_of(data):
        part.device = device_of(job)
        line = part.plan()
        if job.config.get("dry_run"):
            say(line)


def _without_memory(network: Callable[..., nn.Module], **options: Any) -> nn.Module:
    """Build a network for its checks alone: without memory where it can be, else as it is."""
    try:
        with torch.device("meta"):
            return network(**options)
    except (RuntimeError, NotImplementedError):  # one that reads its weights, say
        return network(**options)


def _stand_in(network: Callable[..., nn.Module], **options: Any) -> nn.Module:
    """Build anything with weights in place of a network that cannot be built."""
    return _StandIn(options["in_channels"], options["out_channels"], 1)


class _StandIn(nn.Conv2d):
    side_multiple = 1
