"""How many calls of a network a sampler makes of a model, and whether it fits the model at all."""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace

from diffexp.diffusion.denoiser import Denoiser
from diffexp.diffusion.guidance import Guidance
from diffexp.diffusion.schedule import Schedule
from diffexp.errors import ConfigError
from diffexp.model.model import Model
from diffexp.samplers.sampler import GridSampler, Sampler, check_start


def check(model: Model, sampler: Sampler, guidance: Guidance) -> None:
    """Raise ConfigError for a grid or a guidance that this model cannot do."""
    check_start(model.denoiser.schedule, sampler)
    guidance.check(model)


@contextmanager
def counted(model: Model) -> Generator[list[int]]:
    """Count how many images each call gives to a network meanwhile: what an adaptive sampler needs."""
    seen: list[int] = []
    parts = [d.network for d in model.modules() if isinstance(d, Denoiser)]
    hooks = [part.register_forward_pre_hook(lambda _, given: seen.append(len(given[0]))) for part in parts]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def with_calls(sampler: Sampler, calls: int, schedule: Schedule) -> Sampler:
    """The sampler with as many steps as make at most that many calls. Raises ConfigError if none does."""
    if not isinstance(sampler, GridSampler):
        raise ConfigError(f"{sampler} chooses its steps itself", "task.calls", "leave task.calls away")
    steps = calls
    while steps > 0:
        try:
            made = replace(sampler, steps=steps)
            count = len(made.calls(schedule))
            if count <= calls:
                return made
            # calls go about with steps: leap near, then go one by one
            steps = min(steps - 1, calls * steps // count + 2)
        except ConfigError:
            steps -= 1
    what = f"no number of steps of this sampler makes {calls} calls or less"
    raise ConfigError(what, "task.calls", "give more")


def nfe(sampler: Sampler, guidance: Guidance, model: Model) -> int:
    """Return how often a network is evaluated for one image: twice for each call that is guided."""
    schedule = model.denoiser.schedule
    return int(guidance.calls(sampler.calls(schedule), schedule).sum())
