"""The base of an adapted run: another run, whose weights lie below the adapters.

They are the weights of that run's file: frozen, shared by the averages, and not stored. The checkpoint of the
adapted run says where the file lies, and has a digest of the weights.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from diffexp.archive import is_dict, plain
from diffexp.conditioning.conditioning import nearest_of
from diffexp.config.moved import LATER, moved
from diffexp.config.suggest import override
from diffexp.errors import ConfigError, DataError
from diffexp.model.begin import weights_to_begin_with
from diffexp.model.find import MODEL, Description, read
from diffexp.model.model import Model
from diffexp.model.same_codec import check_codec
from diffexp.model.trainable import LATENTS, Full, Trainable, base_of, fill, same_latents
from diffexp.notice import warn

PARTS = ("denoiser.network", "conditioning")
ANY = "any"
_FREE = (
    "dropout",
    "class_dropout",
    "text_dropout",
    "checkpoint",
    "cache",
    "cache_gb",
    "_partial_",
    "folder",
    "ckpt",
    "path",
)
_MAY_BE_CALLED = ("network", "conditioning")  # otherwise, where its options and weights are the same


@dataclass(frozen=True)
class Base:
    """path: of its file; weights: the averaged ones, by their names in the model; learned: what its
    conditioning knows of the captions; codec: what its codec has measured; digests: of the weights that come
    from other files (`base_of`); parts: the nodes of MODEL of its configuration.
    """

    path: Path
    weights: Mapping[str, Tensor]
    learned: Mapping[str, Any]
    codec: Mapping[str, Any]
    digests: Mapping[str, Any]
    parts: Mapping[str, Any]


def read_base(path: str, where: str = "init") -> Base:
    """Read the run that is to be adapted. Raises DataError."""
    file, weights, learned = weights_to_begin_with(path, where)
    checkpoint = read(file)["diffexp"]
    config: Any = checkpoint.get("config")
    codec: Any = plain(checkpoint.get("codec") or {}, "codec", file)
    digests: Any = checkpoint.get("base")
    codec, digests = (told if is_dict(told) else {} for told in (codec, digests))
    nodes = config.get("model") if is_dict(config) else None
    parts = {key: nodes.get(key) for key in MODEL} if is_dict(nodes) else {}
    return Base(file.resolve(), weights, learned, codec, digests, parts)


def read_below(of_run: Description, base: str | None, path: Path) -> Base:
    """Read the run below the adapters of another; base: where it lies now, None or ANY for where it was.
    Raises DataError.
    """
    if base not in (None, ANY):
        return read_base(base, "tune.base")
    if of_run.base_file is None:
        raise DataError("it does not say where its base lies", str(path), "type tune.base=PATH")
    file = Path(of_run.base_file)
    if not file.exists():
        digest = of_run.base.get("denoiser.network", "unknown")[:12]
        what = f"the run below these adapters is not there: {file} (weights {digest})"
        raise DataError(what, str(path), "type tune.base=PATH, where it lies now")
    warn(f"reading {file}, the run below the adapters that {path} names")
    return read_base(str(file))


def check_like(base: Base, parts: Mapping[str, Any]) -> None:
    """Raise ConfigError where the parts of a model have other options than those of its base; parts: the
    nodes of MODEL.
    """
    if other := list(_differences(base.parts, parts)):
        do = f"type {' '.join(typed for typed, _ in other[:6])}" + (" ..." if len(other) > 6 else "")
        shown = "; ".join(f"{typed} there, {now} here" for typed, now in other[:6])
        raise ConfigError(f"the base was trained with other options: {shown}", f"init={base.path}", do)


def _differences(base: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield (key=value of the base, value here) for options of both that are not the same."""
    for part in ("network", "prediction", "variance", "conditioning", "codec"):
        theirs, own = dict(_flat(base.get(part))), dict(_flat(now.get(part)))
        for key in theirs.keys() | own.keys():
            last = key.rpartition(".")[2]
            a, b = (moved(node.get(key, LATER.get(last))) for node in (theirs, own))
            free = last in _FREE or (last == "_target_" and part in _MAY_BE_CALLED)
            both = (key in theirs and key in own) or last in LATER
            if a != b and both and not free:
                typed = f"{part}.{key}".replace("conditioning.encoder.", "text_encoder.")
                yield (f"{typed}={_typed(a)}", b)


def _flat(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if not is_dict(node):
        return
    for key, value in node.items():
        name = f"{path}.{key}" if path else str(key)
        if is_dict(value):
            yield from _flat(value, name)
        else:
            yield name, value


def _typed(value: Any) -> str:
    words = {"None": "null", "True": "true", "False": "false"}
    return words.get(str(value), str(value).replace(" ", ""))


def put_base(model: Model, base: Base, digests: bool = True) -> dict[str, str]:
    """Put the base's weights into the model, all of them, and take them for weights of its file; return
    their digests. Raises DataError where they are not just those that the model has.
    """
    own = Full().state(model)
    try:
        fill(own, base.weights, base.path)
    except DataError as error:
        do = "type the options of network, conditioning and data that the base was trained with"
        raise DataError(f"the base is another network: {error.what}", f"init={base.path}", do) from error
    return seat(model, base.path, digests)


def seat(model: Model, path: Path, digests: bool = True) -> dict[str, str]:
    """Take all weights of the network and of the conditioning for those of a file; return their digests."""
    for name in PARTS:
        part: Any = model.get_submodule(name)
        if part.state_dict():
            part.source = str(path)
    model.requires_grad_(False)
    model.note()
    return base_of(model) if digests else {}


def prepare(
    model: Model, tune: Trainable, base: Base | None, texts: Sequence[str] | None = None
) -> tuple[dict[str, str], str | None]:
    """Make a model ready to be trained, when it is built, and loaded unless it is made for checks alone.
    texts: the captions of the training images. Return the digests of the weights from files, and what is to
    be said. Raises DiffexpError.
    """
    real = not any(p.is_meta for p in model.parameters())
    if tune.needs_base and base is None:
        raise ConfigError("this tune needs a base", "init", "type init=RUN, the run that is to be adapted")
    digests = put_base(model, base, real) if base is not None else base_of(model) if real else {}
    if real and base is not None and not same_latents(digests, base.digests):
        what = "the base was trained in the latents of another autoencoder"
        raise ConfigError(what, "codec", f"type the codec of {base.path}")
    lines = [tune.apply(model), tune.check_captions(model, texts)]
    if base is not None:
        lines.append(_unknown(model, texts))
    tune.groups(model)  # for what it raises
    return digests, "\n  ".join(filter(None, lines)) or None


def _unknown(model: Model, texts: Sequence[str] | None) -> str | None:
    """Return a line on the words of the training captions that the base does not know; None where there are
    none.
    """
    words = model.conditioning.unknown(list(dict.fromkeys(texts or ())))
    if not words:
        return None
    word = next(filter(str.isalnum, words), next(iter(words)))
    do = f"tune=concept {override('tune.word', word)} learns a word"
    return f"words of the captions that the base does not know are left out: {nearest_of(words)}; {do}"


def check_base(
    model: Model,
    tune: Trainable,
    base: Mapping[str, str],
    expected: Mapping[str, Any],
    path: Path,
    config: Mapping[str, Any] | None = None,
) -> None:
    """Raise DataError where a part has other weights from its file than those that the run was trained on;
    say it where any base is to be taken, and where a codec has another decoder alone.

    base: what `base_of` has said of the model, without adapters; config: of the run.
    """
    for name, digest in base.items():
        if name == LATENTS or expected.get(name) == digest:
            continue
        source = getattr(model.get_submodule(name), "source", None)
        what = f"{name} has other weights than those that the run was trained on"
        if name == "codec":
            check_codec(what, str(source), base, expected, path, config or {})
            continue
        do = f"put the file back that it was trained with: {source}"
        adapted = tune.needs_base and name in PARTS
        if adapted and tune.base == ANY:
            warn(f"{what}, and those of {source} are taken (tune.base={ANY})")
            continue
        if adapted:
            do += f"; or type tune.base=PATH where that run lies now, or tune.base={ANY} to take this one"
        raise DataError(what, str(path), do)
