"""Calibrate a sampler on a checkpoint, once, and keep the numbers: the times of spacing=optimal, and the
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
    """Return the sampler's node with the numbers that it asks for; name: tells which weights they are."""
    calibrated = dict(node)
    if calibrated.get("spacing") == "optimal":
        steps = calibrated["steps"]
        calibrated["spacing"] = [round(p, 6) for p in _times(job, model, name(), steps, data, device)]
    if calibrated.get("variance") == "analytic" and not calibrated.get("gammas"):
        calibrated["gammas"] = _kept(name(), "gammas", lambda: _gammas(job, model, data, device))
    return calibrated


def provisional(node: Mapping[str, Any]) -> dict[str, Any]:
    """Return the sampler's node as it is checked before anything is measured: with as many network calls."""
    stand_in = dict(node)
    if stand_in.get("spacing") == "optimal":
        stand_in |= {"spacing": "trailing", "steps": min(stand_in["steps"], MOST_TIMES)}
    if stand_in.get("variance") == "analytic" and not stand_in.get("gammas"):
        stand_in["variance"] = "fixed_small"
    return stand_in


def _times(job: Job, model: Model, name: str, steps: int, data: Any, device: Any) -> list[float]:
    schedule = model.denoiser.schedule
    times = fine(schedule)
    kept = _kept(name, "errors", lambda: _errors(job, model, data, device))
    errors = torch.tensor(kept, dtype=torch.float64)
    errors[errors < 0] = torch.inf
    path = shortest(errors, min(steps, len(times) - 1))
    return (times[path[:-1]] * schedule.T).tolist()


def _errors(job: Job, model: Model, data: Any, device: Any) -> list[list[float]]:
    schedule, times = model.denoiser.schedule, fine(model.denoiser.schedule)
    noise = Noise(key(job.config["seed"], "optimal"), torch.arange(IMAGES), model.latent_shape, device)
    asked = ask(model, IMAGES, text=_captions(job, model, data))
    cond = model.to(device).condition(asked.to(device))
    with counting("measuring the flow") as progress:
        errors = local_errors(
            model.denoiser, schedule, times, noise(0), cond, lambda k: progress(k, len(times) - 1)
        )
    errors[errors.isinf()] = -1  # JSON has no infinity
    return errors.tolist()


def _captions(job: Job, model: Model, data: Any) -> list[str] | None:
    """Return captions of the training images, for a model that is told some."""
    if "text" not in model.conditioning.asks:
        return None
    return next(iter(build(data, "data", job.allowed).batches("train", IMAGES))).text


def _gammas(job: Job, model: Model, data: Any, device: Any) -> list[float]:
    made = build(data, "data", job.allowed)
    batch = next(iter(made.batches("train", IMAGES)))
    x0 = model.to(device).codec.encode(batch.image.to(device))
    noise = Noise(key(job.config["seed"], "gammas"), batch.index, model.latent_shape, device)(1)
    cond = model.condition(batch.asked.to(device))
    return second_moments(model.denoiser, model.denoiser.schedule, x0, noise, cond, POINTS)


def _kept(name: str, what: str, make: Callable[[], Any]) -> Any:
    """Return what `make` returns, from the cache file or made and written; a damaged file is reported.

    Raises DataError for numbers that are not finite.
    """
    question = f"{VERSION} {name} {what} {IMAGES} {POINTS}"
    file = Path(CACHE).expanduser() / f"{hashlib.sha256(question.encode()).hexdigest()[:32]}.json"
    try:
        row = read_json(file)
        if row.get("sha256") == _digest(question, row.get("value")):
            return row["value"]
        say(f"measured again, for this file is not as it was written: {file}")
    except FileNotFoundError:
        pass
    except (OSError, DataError) as error:
        why = str(error).splitlines()[0]
        say(f"measured again, for this file cannot be read: {file} ({why})")
    value = make()
    if not torch.tensor(value).isfinite().all():
        do = "look at the loss of its training, and at its samples"
        raise DataError(f"the {what} of this checkpoint are not finite", "task.ckpt", do)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write(file, json.dumps({"sha256": _digest(question, value), "value": value}))
    except (OSError, ResourceError) as error:  # it costs time, and not the run
        say(f"not kept for the next run: {file} ({str(error).splitlines()[0]})")
    return value


def _digest(question: str, value: Any) -> str:
    return hashlib.sha256(f"{question}\n{json.dumps(value)}".encode()).hexdigest()
