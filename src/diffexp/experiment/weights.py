"""The weights of a checkpoint, and whether the network that it describes is of their size."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from diffexp.errors import DataError, DiffexpError

DO = "use the version of diffexp that wrote it"


def weights_of(state: Mapping[str, Any], average: int | None, path: Path) -> dict[str, Tensor]:
    """Return the weights of an average, or for None those that are trained, by the network's own names.

    Raises DataError where there are none.
    """
    prefix = "denoiser.network." if average is None else f"ema.networks.{average}."
    found = {k.removeprefix(prefix): v for k, v in state.items() if str(k).startswith(prefix)}
    if not found:
        do = "type task.ema=false (or guidance.ema=null) for the weights being trained"
        raise DataError(f"the checkpoint holds no averaged weights of number {average}", str(path), do)
    if strange := [name for name, value in found.items() if not isinstance(value, Tensor)]:
        raise DataError(f"{prefix}{strange[0]} is no tensor", str(path), DO)
    return found


def check_size(build: Callable[[], nn.Module], weights: Mapping[str, Tensor], path: Path) -> None:
    """Raise DataError unless the network has just these weights, in these shapes. It is built without memory,
    and no further than the weights reach: a small file may describe a network of any size.
    """
    with holding_together(path), _at_most(len(weights), path), torch.device("meta"):
        wanted = build().state_dict()
    missing, left = sorted(set(wanted) - set(weights)), sorted(set(weights) - set(wanted))
    other = [name for name in wanted if name in weights and wanted[name].shape != weights[name].shape]
    parts = [f"no {missing[0]} in it"] if missing else []
    parts += [f"{left[0]} is not in the network"] if left else []
    parts += [f"{n} has {tuple(weights[n].shape)}, not {tuple(wanted[n].shape)}" for n in other[:1]]
    if parts:
        raise DataError(f"the weights do not fit the network: {', '.join(parts)}", str(path), DO)


@contextmanager
def _at_most(count: int, path: Path) -> Iterator[None]:
    """Raises DataError as soon as modules with more than `count` parameters are made."""
    made = 0

    def heard(module: nn.Module, name: str, parameter: Any) -> None:
        nonlocal made
        made += parameter is not None
        if made > count:
            what = f"the weights do not fit the network: it has more than the {count} in the file"
            raise DataError(what, str(path), DO)

    hook = register_module_parameter_registration_hook(heard)
    try:
        yield
    finally:
        hook.remove()


@contextmanager
def holding_together(path: Path) -> Iterator[None]:
    """Raise DataError naming the file for any error of Python that building what it describes ends in."""
    try:
        yield
    except DiffexpError:
        raise
    except Exception as error:
        first = (str(error) or "no text").splitlines()[0]
        what = f"what the file describes cannot be built: {type(error).__name__}: {first[:200]}"
        raise DataError(what, str(path), "use another checkpoint, or the version that wrote it") from error
