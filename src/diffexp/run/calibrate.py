"""What a sampler wants to know of a checkpoint, measured once and kept: the times of spacing=optimal, and the
second moments of variance=analytic.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from diffexp.config.build import build
from diffexp.errors import DataError, ResourceError
from diffexp.files import read_json, write
from diffexp.model.ask import ask
from diffexp.model.model import Model
from diffexp.notice import say
from diffexp.progress import counting
from diffexp.randomness import Noise, key
from diffexp.run.job import Job
from diffexp.samplers.optimal import fine, local_errors, second_moments, shortest

CACHE = "~/.cache/diffexp/measured"
IMAGES = 64
POINTS = 100
MOST_TIMES = 120  # of `fine`, without the last
VERSION = 2


def filled(
    job: Job, node: Mapping[str, Any], model: Model, name: Callable[[], str], data: Any, device: Any
) -> dict[str, Any]:
    """Return the sampler's node with what it asks for; name: tells which weights they are."""
    told = dict(node)
    if told.get("spacing") == "optimal":
        steps = told["steps"]
        told["spacing"] = [round(p, 6) for p in _times(job, model, name(), steps, device)]
    if told.get("variance") == "analytic" and not told.get("gammas"):
        told["gammas"] = _kept(name(), "gammas", lambda: _gammas(job, model, data, device))
    return told


def provisional(node: Mapping[str, Any]) -> dict[str, Any]:
    """Return the sampler's node as it is checked before anything is measured: with as many network calls."""
    told = dict(node)
    if told.get("spacing") == "optimal":
        told |= {"spacing": "trailing", "steps": min(told["steps"], MOST_TIMES)}
    if told.get("variance") == "analytic" and not told.get("gammas"):
        told["variance"] = "fixed_small"
    return told


def _times(job: Job, model: Model, name: str, steps: int, device: Any) -> list[float]:
    schedule = model.denoiser.schedule
    times = fine(schedule)
    errors = torch.tensor(_kept(name, "errors", lambda: _errors(job, model, device)), dtype=torch.float64)
    errors[errors < 0] = torch.inf
    path = shortest(errors, min(steps, len(times) - 1))
    return (times[path[:-1]] * schedule.T).tolist()


def _errors(job: Job, model: Model, device: Any) -> list[list[float]]:
    schedule, times = model.denoiser.schedule, fine(model.denoiser.schedule)
    noise = Noise(key(job.config["seed"], "optimal"), torch.arange(IMAGES), model.latent_shape, device)
    cond = model.to(device).condition(ask(model, IMAGES).to(device))
    with counting("measuring the flow") as progress:
        errors = local_errors(
            model.denoiser, schedule, times, noise(0), cond, lambda k: progress(k, len(times) - 1)
        )
    errors[errors.isinf()] = -1  # JSON has no infinity
    return errors.tolist()


def _gammas(job: Job, model: Model, data: Any, device: Any) -> list[float]:
    made = build(data, "data", job.allowed)
    batch = next(iter(made.batches("train", IMAGES)))
    x0 = model.to(device).codec.encode(batch.image.to(device))
    noise = Noise(key(job.config["seed"], "gammas"), batch.index, model.latent_shape, device)(1)
    cond = model.condition(batch.asked.to(device))
    return second_moments(model.denoiser, model.denoiser.schedule, x0, noise, cond, POINTS)


def _kept(name: str, what: str, make: Callable[[], Any]) -> Any:
    """Return what `make` does, from the file that has it or made and written; said where that was damaged.

    Raises DataError for numbers that are not finite.
    """
    told = f"{VERSION} {name} {what} {IMAGES} {POINTS}"
    file = Path(CACHE).expanduser() / f"{hashlib.sha256(told.encode()).hexdigest()[:32]}.json"
    try:
        row = read_json(file)
        if row.get("sha256") == _digest(told, row.get("value")):
            return row["value"]
        say(f"measured again, for this file is not as it was written: {file}")
    except FileNotFoundError:
        pass
    except (OSError, DataError) as error:
        why = str(error).splitlines()[0]
        say(f"measured again, for this file cannot be read: {file} ({why})")
    found = make()
    if not torch.tensor(found).isfinite().all():
        do = "look at the loss of its training, and at its samples"
        raise DataError(f"the {what} of this checkpoint are not finite", "task.ckpt", do)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write(file, json.dumps({"sha256": _digest(told, found), "value": found}))
    except (OSError, ResourceError) as error:  # it costs time, and not the run
        say(f"not kept for the next run: {file} ({str(error).splitlines()[0]})")
    return found


def _digest(told: str, value: Any) -> str:
    return hashlib.sha256(f"{told}\n{json.dumps(value)}".encode()).hexdigest()
