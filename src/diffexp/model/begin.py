"""Beginning with the weights of another run: all of them for the same network, else those that fit."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from diffexp.archive import is_dict, plain
from diffexp.errors import DataError
from diffexp.model.find import find, named_by, read
from diffexp.model.trainable import Choice, few, same_latents
from diffexp.model.weights import weights_of

_TOLD = "conditioning."
LEAST = 0.01  # of the numbers of a network: a run that gives it fewer is a mistake


@dataclass(frozen=True)
class Fit:
    """The weights of a file and those of a model, by name: taken, of the file; new, of the model; other, of
    another size; left, of the file alone.
    """

    path: Path
    taken: tuple[str, ...]
    new: tuple[str, ...]
    other: tuple[str, ...]
    left: tuple[str, ...]

    def words(self) -> str:
        """Return what is said of it."""
        whole = not (self.new or self.other or self.left)
        text = f"beginning with {'all' if whole else len(self.taken)} weights of {self.path}"
        for what, names in (
            ("begun anew", self.new), ("begun anew, for they are of another size there", self.other),
            ("not used", self.left),
        ):  # fmt: skip
            if names:
                text += f"\n  {what}: {few(list(names))}"
        return text


def weights_to_begin_with(
    path: str, where: str = "init"
) -> tuple[Path, dict[str, Tensor], Mapping[str, Any]]:
    """Return the file of a run, its averaged weights, or the trained ones where it has no average, by their
    names in the model, and what its conditioning has learned. Nothing but tensors and plain values is made of
    it. where: the key that names it. Raises DataError.
    """
    with named_by(where):
        found = find(path, where)
        checkpoint: Mapping[str, Any] = read(found)
    if checkpoint["diffexp"].get("base_file"):
        do = f"export it, task=export task.ckpt={path}, and type {where}= with the folder that this writes"
        raise DataError("this run holds adapters, and not the weights below them", f"{where}={path}", do)
    learned: Any = plain(checkpoint["diffexp"].get("learned") or {}, "learned", found)
    weights = weights_of(checkpoint, 0 if checkpoint.get("ema") else None, found)
    return found, weights, learned if is_dict(learned) else {}


def latents_of(path: str, own: Mapping[str, str]) -> Mapping[str, Any]:
    """Return what the codec of a run has measured, where its latents are those of a model with these digests
    (`base_of`); else nothing. The weights of the run are of latents in this scale. Raises DataError.
    """
    checkpoint: Mapping[str, Any] = read(find(path))["diffexp"]
    base: Any = checkpoint.get("base")
    if "codec" not in own or not is_dict(base) or not same_latents(own, base):
        return {}
    scale: Any = plain(checkpoint.get("codec") or {}, "codec", find(path))
    return scale if is_dict(scale) else {}


def begin(
    model: Any,
    tune: Choice,
    path: Path,
    weights: Mapping[str, Tensor],
    learned: Mapping[str, Any] | None = None,
    copy: bool = True,
) -> Fit:
    """Put the weights that fit into the model, or the autoencoder. Raises DataError where next to none does.

    learned: of the conditioning of the other run, whose words may have other numbers; copy: False to find out
    alone.
    """
    told = {name[len(_TOLD) :]: w for name, w in weights.items() if name.startswith(_TOLD)}
    if told:
        adapted = model.conditioning.adapted(told, learned or {})
        weights = {**weights, **{f"{_TOLD}{name}": w for name, w in adapted.items()}}
    own = tune.state(model)
    same = [n for n, value in own.items() if n in weights and weights[n].shape == value.shape]
    taken, whole = (sum(own[name].numel() for name in names) for names in (same, own))
    if taken < LEAST * whole:
        do = "take a run whose network has parts of the same names and sizes, or leave init out"
        what = f"{taken:,} of the {whole:,} numbers of the network are of the size that they have in this run"
        raise DataError(what, f"init={path}", do)
    for name in same if copy else ():
        own[name].detach().copy_(weights[name])
    return Fit(
        path,
        tuple(same),
        tuple(n for n in own if n not in weights),
        tuple(n for n in own if n in weights and n not in same),
        tuple(n for n in weights if n not in own),
    )
