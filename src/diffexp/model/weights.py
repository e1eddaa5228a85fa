"""The weights of a checkpoint, and whether the network that it describes is of their size."""

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from diffexp.archive import is_list, is_mapping
from diffexp.errors import ConfigError, DataError, DiffexpError

DO = "use the version of diffexp that wrote it"
_counting: list[object] = []  # the blocks of `no_larger_than` that are open, the innermost last


def average_of(ema: float | None, decays: Sequence[float], path: Path) -> int | None:
    """Return the number of the average that task.ema names: true is the first, a whole number its place, any
    other its decay; None, for false or None, for the weights being trained. Raises ConfigError.
    """
    if ema is None or isinstance(ema, bool):
        return 0 if ema else None
    if isinstance(ema, int) and 0 <= ema < len(decays):
        return ema
    if not isinstance(ema, int) and ema in decays:
        return list(decays).index(ema)
    if not decays:
        raise ConfigError(f"{path} holds no averages", "task.ema", "type task.ema=false")
    known = ", ".join(f"{i} (decay {decay:g})" for i, decay in enumerate(decays))
    do = f"type task.ema={len(decays) - 1}, a decay such as task.ema={decays[0]:g}, or task.ema=false"
    raise ConfigError(f"{path} has no average {ema:g}, but {known}", "task.ema", do)


def weights_of(checkpoint: Mapping[str, Any], average: int | None, path: Path) -> dict[str, Tensor]:
    """Return the weights of an average, or for None those that are trained, by the names in the model.

    Raises DataError where there are none.
    """
    averages = checkpoint.get("ema")
    if average is None:
        found = checkpoint.get("trained")
    else:
        found = averages[average] if is_list(averages) and 0 <= average < len(averages) else None
    if not is_mapping(found) or not found:
        do = "type task.ema=false (or guidance.ema=null) for the weights being trained"
        if average is None:
            do = "use another checkpoint of the run"
        which = "trained weights" if average is None else f"averaged weights of number {average}"
        raise DataError(f"the checkpoint holds no {which}", str(path), do)
    if strange := [name for name, value in found.items() if not isinstance(value, Tensor)]:
        raise DataError(f"{strange[0]} is no tensor", str(path), DO)
    return dict(found)


def name_of(decays: Sequence[float], average: int | None) -> str:
    """Return what the weights of an average are called, or for None those that are trained."""
    return "as trained" if average is None else f"average of decay {decays[average]:g}"


def load_weights(network: nn.Module, weights: Mapping[str, Tensor], path: Path) -> None:
    """Put the weights into the network. Raises DataError where they are not just those that it has."""
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        what = f"the weights do not fit the network: {' '.join(str(error).split())[:200]}"
        raise DataError(what, str(path), DO) from error


@contextmanager
def no_larger_than(weights: Mapping[str, Tensor], path: Path) -> Generator[None]:
    """Raise DataError as soon as modules are made with more parameters, or more numbers in them, than the
    weights have: a small file may describe a network of any size.

    A parameter is registered before it is filled, so what is refused has taken no memory yet. Inside of
    another such block, whose file names this one, only this one counts.
    """
    count, numbers = len(weights), sum(value.numel() for value in weights.values())
    own = object()

    def heard(module: nn.Module, name: str, parameter: Any) -> None:
        nonlocal count, numbers
        if parameter is not None and _counting[-1] is own:
            count, numbers = count - 1, numbers - parameter.numel()
        if count < 0 or numbers < 0:
            what = "the weights do not fit the network: it is larger than what the file holds"
            raise DataError(what, str(path), DO)

    hook = register_module_parameter_registration_hook(heard)
    _counting.append(own)
    try:
        yield
    finally:
        _counting.remove(own)
        hook.remove()


@contextmanager
def holding_together(path: Path) -> Generator[None]:
    """Raise DataError naming the file for any error of Python that building what it describes ends in."""
    try:
        yield
    except DiffexpError:
        raise
    except Exception as error:
        first = (str(error) or "no text").splitlines()[0]
        what = f"what the file describes cannot be built: {type(error).__name__}: {first[:200]}"
        raise DataError(what, str(path), "use another checkpoint, or the version that wrote it") from error
