"""What of a model is trained, averaged and stored: training, checkpoints and restore ask it here.

A part with a `source` has weights from a file. Those of them without a gradient, and its buffers, are not
trained: no average copies them, and no checkpoint of the run holds them. All other weights and buffers of the
network and of the conditioning are stored; those of a codec never are, for it has a file of its own.
"""

import hashlib
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor, nn

from diffexp.errors import ConfigError, DataError
from diffexp.model.model import Model, with_source

_DO = "use the version of diffexp, and the packages, that wrote it"


class Trainable(Protocol):
    """A choice of the weights of a model, or of an autoencoder, that are trained."""

    def parameters(self, model: Any) -> list[nn.Parameter]:
        """Return what the optimizer trains."""
        ...

    def state(self, model: Any) -> dict[str, Tensor]:
        """Return what a checkpoint holds of the model, by its names in the model."""
        ...

    def load(self, model: Any, state: Mapping[str, Any], path: Path) -> None:
        """Put what a checkpoint holds into the model. Raises DataError, naming what is missing, left over or
        of another size.
        """
        ...


class Full:
    """All weights that do not come from a file of their own."""

    def parameters(self, model: Model) -> list[nn.Parameter]:
        stored = self.state(model)
        return [p for name, p in model.named_parameters() if name in stored and p.requires_grad]

    def state(self, model: Model) -> dict[str, Tensor]:
        return {
            name: value
            for name, value in model.state_dict(keep_vars=True).items()
            if name.startswith(("denoiser.", "conditioning.")) and name not in model.of_files
        }

    def load(self, model: Model, state: Mapping[str, Any], path: Path) -> None:
        fill(self.state(model), state, path)


def fill(own: Mapping[str, Tensor], state: Mapping[str, Any], path: Path) -> None:
    """Copy a state of a file into tensors of the same names and shapes. Raises DataError otherwise."""
    if strange := [name for name, value in state.items() if not isinstance(value, Tensor)]:
        raise DataError(f"{strange[0]} is no tensor", str(path), _DO)
    missing, left = [n for n in own if n not in state], [n for n in state if n not in own]
    other = [
        f"{n} {list(state[n].shape)}, here {list(own[n].shape)}"
        for n in own
        if n in state and own[n].shape != state[n].shape
    ]
    if faults := [f"{what}: {few(names)}" for what, names in (
        ("missing", missing), ("not of this model", left), ("of another size", other)
    ) if names]:  # fmt: skip
        raise DataError(f"the weights do not fit the model; {'; '.join(faults)}", str(path), _DO)
    for name, value in own.items():
        value.detach().copy_(state[name])


def detached(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of a state without their gradients."""
    return {name: value.detach() for name, value in state.items()}


def few(names: list[str]) -> str:
    """Return the first of these names, and how many more there are."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def check_sources(model: Model) -> None:
    """Raise ConfigError for a codec with weights that come from nowhere: a run would store none of them, and
    whoever restores it would have others.
    """
    if model.codec.source is None and (names := list(model.codec.state_dict())):
        what = f"the codec has weights that no file holds: {few(names)}"
        do = "give the class a `source`, the file that its `load` reads, and register no weights without"
        raise ConfigError(what, "codec", do)


def base_of(model: Model) -> dict[str, str]:
    """Return a digest of the weights of each part that has them from a file, by the name of the part: a
    checkpoint says with it what it was trained on.
    """
    digests = dict[str, str]()
    for name, part in with_source(model):
        digest = hashlib.sha256()
        for key, value in part.state_dict().items():
            if f"{name}.{key}" in model.of_files:
                digest.update(f"{key} {tuple(value.shape)} {value.dtype}\n".encode())
                digest.update(value.detach().cpu().contiguous().view(-1).numpy().tobytes())
        digests[name] = digest.hexdigest()
    return digests


def check_base(model: Model, base: Mapping[str, str], expected: Mapping[str, Any], path: Path) -> None:
    """Raise DataError where a part has other weights from its file than those that the run was trained on.

    base: what `base_of` says of the model.
    """
    for name, digest in base.items():
        if expected.get(name) != digest:
            source = dict(with_source(model))[name].source
            what = f"{name} has other weights than those that the run was trained on"
            raise DataError(what, str(path), f"put the file back that it was trained with: {source}")


def shared_copy(model: Model) -> Model:
    """Return a copy that shares what is not trained, so that an average costs what is trained."""
    weights = model.state_dict(keep_vars=True)
    memo: dict[int, Any] = {id(weights[name]): weights[name] for name in model.of_files}
    memo |= {id(part): part for part in (model.codec, model.beside)}
    return deepcopy(model, memo)
