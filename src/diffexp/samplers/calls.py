"""How many calls of a network a sampler makes of a model, and whether it fits the model at all."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from diffexp.diffusion.guidance import Autoguidance, ClassifierFree
from diffexp.diffusion.schedule import Schedule
from diffexp.errors import ConfigError
from diffexp.model.model import Model
from diffexp.samplers.sampler import GridSampler, Sampler, check_start


def check(model: Model, sampler: Sampler, guidance: ClassifierFree) -> None:
    """Raise ConfigError for a grid or a guidance that this model cannot do."""
    check_start(model.denoiser.schedule, sampler)
    model.check(guidance)


@contextmanager
def counted(model: Model) -> Iterator[list[int]]:
    """How many images each call gave to a network meanwhile: what an adaptive sampler needs."""
    seen: list[int] = []
    parts = [d.network for d in (model.denoiser, model.guide) if d is not None]
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


def nfe(sampler: Sampler, guidance: ClassifierFree, model: Model) -> int:
    """Evaluations of a network for one image: two for each call that is guided."""
    schedule = model.denoiser.schedule
    times = sampler.calls(schedule)
    guidable = model.classes is not None or isinstance(guidance, Autoguidance)
    return int(guidance.calls(times, schedule).sum()) if guidable else len(times)
