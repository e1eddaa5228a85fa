"""A command line that works, beside the problems of one that does not.

Each problem says what to type instead, one by one. Where the parts are those of another recipe, what a person
wants is a line that works: it is tried, by the same checks, before it is shown.
"""

import contextlib
import io
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from diffexp.config.argv import command, config_dir
from diffexp.errors import ConfigError, DiffexpError
from diffexp.metrics import metric_set
from diffexp.tasks.run import run_job

RECIPES = {"folder": "experiment=folder", "npz": "experiment=npz"}
"""The recipe that fits a data set, by its option of `data`."""
FIXES = {  # what takes a problem away, by the beginning of the key at which it is
    "network.attention": "network=unet_auto",
    "network.channel_mult": "network=unet_auto",
    "conditioning": "conditioning=auto",
    "metrics": "metrics=auto",
    "evaluator.scales": "evaluator.scales=[1]",
    "guidance": "guidance.scale=1",
}
OWN = tuple(f"metrics={name}" for name in metric_set.OWN)
"""The metrics that a problem offers, in place of those of FIXES."""
Compose = Callable[[Sequence[str]], tuple[DictConfig, Mapping[str, str]]]
"""Called with what is typed; returns the configuration, and which option it has of each group."""


def mended(
    error: ConfigError, typed: Sequence[str], choices: Mapping[str, str], folder: Path, compose: Compose
) -> ConfigError:
    """Return the error with a command line that passes all checks, where one of a few changes leads to it."""
    for line in _candidates(error, typed, choices):
        if (line := _passing(line, folder, compose)) is not None:
            own = config_dir(sys.argv[1:])
            shown = shlex.join([*command(), *(["-cd", str(own)] if own else []), *line])
            better = ConfigError(f"{error}\nthis would work: {shown}")
            better.parts = error.parts
            return better
    return error


def _candidates(error: ConfigError, typed: Sequence[str], choices: Mapping[str, str]) -> Iterator[list[str]]:
    keys = [t.split("=")[0] for t in typed]
    recipe = RECIPES.get(choices.get("data", ""))
    if recipe is not None and "experiment" not in keys and _fixes(error, typed):
        yield [recipe, *(t for t in typed if t.split("=")[0] not in ("data", "experiment"))]
    if _fixes(error, typed):
        yield _fixed(error, typed)


def _fixes(error: ConfigError, typed: Sequence[str]) -> dict[str, str]:
    """Return what takes the problems away, by key; nothing for a value of the network that was typed."""
    places = [p.where for p in error.parts or [error]]
    own = {t.split("=")[0] for t in typed}
    offered = [
        word for p in error.parts or [error] if (word := p.do.removeprefix("type ").split(",")[0]) in OWN
    ]
    return {
        key: offered[0] if key == "metrics" and offered else fix
        for key, fix in FIXES.items()
        if any(
            place.startswith(key) and not (place in own and place.startswith("network.")) for place in places
        )
    }


def _fixed(error: ConfigError, typed: Sequence[str]) -> list[str]:
    fixes = _fixes(error, typed)
    groups = tuple({fix.split("=")[0] for fix in fixes.values()})
    return [*(t for t in typed if not t.startswith(groups)), *dict.fromkeys(fixes.values())]


def _passing(line: Sequence[str], folder: Path, compose: Compose) -> list[str] | None:
    """Return the line, with more changes where it needs some; None where it does not come to pass."""
    for _ in range(len(FIXES)):
        error = _problem(line, folder, compose)
        if error is None:
            return list(line)
        if not isinstance(error, ConfigError) or set(_fixes(error, line).values()) <= set(line):
            return None
        line = _fixed(error, line)
    return None


def _problem(line: Sequence[str], folder: Path, compose: Compose) -> Exception | None:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            cfg, choices = compose([*line, "dry_run=true"])
            run_job(cfg, folder, line, choices)
        except (DiffexpError, HydraException, OmegaConfBaseException) as error:
            return error
    return None
