"""What of a model is trained, averaged and stored: training, checkpoints and restore ask it here.

A part with a `source` has weights from a file. Those of them without a gradient, and its buffers, are not
trained: no average copies them, and no checkpoint of the run holds them. All other weights and buffers of the
network and of the conditioning are stored; those of a codec never are, for it has a file of its own.
"""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

from torch import Tensor, nn

from diffexp.archive import is_dict
from diffexp.errors import ConfigError, DataError
from diffexp.model.model import Model, with_source
from diffexp.model.patterns import matching, named, short

LATENTS = "codec.latents"
"""What `base_of` calls the digest of what decides the latents: of a codec without its decoder."""
_DO = "use the version of diffexp, and the packages, that wrote it"


class Choice(Protocol):
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


class Trainable(Choice, Protocol):
    """One of the weights of a model. base: of an adapted run, where its base lies; "any" to take another base
    than that which it was trained on.
    """

    needs_base: ClassVar[bool]
    """Whether the weights of another run lie below those that are trained, frozen and not stored."""

    @property
    def base(self) -> str | None: ...

    def apply(self, model: Model, empty: bool = False) -> str | None:
        """Make the model ready, once, when its weights are in place: freeze some, add others. Return a line
        to say, None for nothing. empty: what is added has no memory before `load`. Raises ConfigError.
        """
        ...

    def groups(self, model: Model) -> list[tuple[list[nn.Parameter], float]]:
        """Return the parameters in groups, each with the factor of its learning rate."""
        ...

    def check_captions(self, model: Model, texts: Sequence[str] | None) -> str | None:
        """Check, after `apply`, the captions of the training images, None where they have none. Return a line
        to say, None for nothing. Raises ConfigError.
        """
        ...


class Stored:
    """All weights that do not come from a file of their own are stored, and those with a gradient trained."""

    rates: Mapping[str, float] | None = None

    def parameters(self, model: Model) -> list[nn.Parameter]:
        return list(self._trained(model).values())

    def _trained(self, model: Model) -> dict[str, nn.Parameter]:
        stored = self.state(model)
        return {name: p for name, p in model.named_parameters() if name in stored and p.requires_grad}

    def groups(self, model: Model) -> list[tuple[list[nn.Parameter], float]]:
        """Return the parameters that no pattern of `rates` names, and those of each pattern; the first one
        that names a weight counts. Raises ConfigError for a pattern that names none.
        """
        left, rates = self._trained(model), dict(self.rates or {})
        made = list[tuple[list[nn.Parameter], float]]()
        for pattern, factor in rates.items():
            named(pattern, list(self._trained(model)), "tune.rates")
            own = matching([pattern], list(left))
            made.append(([left.pop(name) for name in own], float(factor)))
        return [part for part in ((list(left.values()), 1.0), *made) if part[0]]

    def state(self, model: Model) -> dict[str, Tensor]:
        return {
            name: value
            for name, value in model.state_dict(keep_vars=True).items()
            if name.startswith(("denoiser.", "conditioning.")) and name not in model.of_files
        }

    def load(self, model: Model, state: Mapping[str, Any], path: Path) -> None:
        fill(self.state(model), state, path)

    def check_captions(self, model: Model, texts: Sequence[str] | None) -> str | None:
        return None


@dataclass(frozen=True)
class Full(Stored):
    """All weights are trained, but for those that a pattern of `freeze` names, which keep the values that
    they begin with.

    A pattern is as of a shell, "down.*", for the name of a weight in the network or in the whole model
    ("conditioning.*"). rates: the factor of the learning rate for the weights that a pattern names; the first
    one counts. base: not of a full run, but of an adapted one that is sampled.
    """

    freeze: tuple[str, ...] = ()
    rates: Mapping[str, float] | None = None
    base: str | None = None
    needs_base: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_rates(self.rates)

    def apply(self, model: Model, empty: bool = False) -> str | None:
        every = super()._trained(model)
        for pattern in self.freeze:
            named(pattern, list(every), "tune.freeze")
        frozen = {name: every[name] for name in matching(self.freeze, list(every))}
        if not frozen:
            return None
        if len(frozen) == len(every):
            raise ConfigError("all weights are frozen", "tune.freeze", "leave some to be trained")
        for p in frozen.values():
            p.requires_grad_(False)
        whole, still = (sum(p.numel() for p in part.values()) for part in (every, frozen))
        return f"frozen: {len(frozen)} of {len(every)} weights, {still:,} of {whole:,} numbers"

    def _trained(self, model: Model) -> dict[str, nn.Parameter]:
        every = super()._trained(model)
        frozen = set(matching(self.freeze, list(every)))
        return {name: p for name, p in every.items() if name not in frozen}


def check_rates(rates: Any) -> None:
    """Raise ConfigError for factors of the learning rate that are no positive numbers, by patterns."""
    if not (rates is None or is_dict(rates)):
        do = "give patterns with their factors, tune.rates={down.*:0.1}"
        raise ConfigError(f"rates={rates!r:.80}", "tune.rates", do)
    for pattern, factor in (rates or {}).items():
        sound = isinstance(factor, (int, float)) and not isinstance(factor, bool)
        if not sound or not 0 < factor < float("inf"):
            do = "give a factor above 0, tune.rates={down.*:0.1}; what is not to change: tune.freeze=[down.*]"
            raise ConfigError(f"{short(str(pattern)):.80}: {factor!r:.40}", "tune.rates", do)


def fill(own: Mapping[str, Tensor], state: Mapping[str, Any], path: Path) -> None:
    """Copy a state of a file into tensors of the same names and shapes. Raises DataError otherwise."""
    compare(own, state, path)
    for name, value in own.items():
        value.detach().copy_(state[name])


def compare(own: Mapping[str, Tensor], state: Mapping[str, Any], path: Path) -> None:
    """Raise DataError where a state of a file has not the names and shapes of these tensors."""
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

    def own(name: str, part: nn.Module) -> list[str]:
        return [key for key in part.state_dict() if f"{name}.{key}" in model.of_files]

    made = {name: digest_of(part, own(name, part)) for name, part in with_source(model)}
    return made | ({LATENTS: model.codec.of_latents} if model.codec.of_latents else {})


def same_latents(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    """Return whether two models, of which `base_of` has told, work in the same latents: their codecs may have
    different decoders.
    """
    return a.get("codec") == b.get("codec") or (LATENTS in a and a[LATENTS] == b.get(LATENTS))


def digest_of(part: nn.Module, keys: Collection[str] | None = None) -> str:
    """Return the sha256 of the weights and buffers of a part that have these names in it; None for all."""
    digest = hashlib.sha256()
    for key, value in part.state_dict().items():
        if keys is None or key in keys:
            digest.update(f"{key} {tuple(value.shape)} {value.dtype}\n".encode())
            digest.update(value.detach().cpu().contiguous().view(-1).numpy().tobytes())
    return digest.hexdigest()


def shared_copy(model: Model) -> Model:
    """Return a copy that shares what is not trained, so that an average costs what is trained."""
    weights = model.state_dict(keep_vars=True)
    memo: dict[int, Any] = {id(weights[name]): weights[name] for name in model.of_files}
    memo |= {id(part): part for part in (model.codec, model.beside)}
    return deepcopy(model, memo)
