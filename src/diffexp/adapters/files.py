"""Adapters of a file: of a run of ours, of its export, or safetensors of peft, diffusers, kohya and LyCORIS;
and new words, as diffusers and A1111 write them.

A file of others has names of layers by some habit, and says its scale or not: one that does not has s = 1.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from diffexp.adapters.concept import Concept, base_said, words_of_file
from diffexp.adapters.formulas import Parts, by_layer, rank_of, scale_of
from diffexp.adapters.kinds import MOST_RANK, Adapter
from diffexp.adapters.layers import anchored
from diffexp.archive import is_dict
from diffexp.config.suggest import path_of
from diffexp.errors import ConfigError, DataError
from diffexp.files import read_json
from diffexp.model.adapter_names import TUNED
from diffexp.model.find import ADAPTER_FILE, CONCEPT_FILE, CONFIG, describe, find, named_by, read
from diffexp.model.model import Model
from diffexp.model.restore import tune_of
from diffexp.model.weights import average_of, weights_of

PEFT_CONFIG = "adapter_config.json"
_NETWORK, _WHERE = "denoiser.network.", "task.adapters"
_FILES = (ADAPTER_FILE, "pytorch_lora_weights.safetensors", CONCEPT_FILE)  # of peft, and two of diffusers
_OWN_WORDS = {"lora_down": "lora_A", "lora_up": "lora_B"}  # of kohya
_CODE = (".bin", ".pt", ".pth", ".pkl")


@dataclass(frozen=True)
class Adapted:
    """path: of the file; layers: the parts of each, by its name in the model; scales: s of each; base: the
    digests of the weights that it was trained on, None where the file does not say them; words: the vectors
    of new words, (V, width); keep_norm: whether these are brought to the length of the vocabulary's.
    """

    path: Path
    layers: Mapping[str, Parts]
    scales: Mapping[str, float]
    base: Mapping[str, str] | None
    words: Mapping[str, Tensor] = field(default_factory=dict[str, Tensor])
    keep_norm: bool = False


def read_adapter(
    text: str, layers: Sequence[str], ema: float | None = True, plugins: Sequence[str] = ()
) -> Adapted:
    """Read the adapters of a run or of a file. layers: the names of those of the model that they are for;
    ema: which average of their weights (`average_of`), None for those being trained. Raises DataError,
    ConfigError.
    """
    path = path_of(text, _WHERE)
    others = (
        path
        if path.suffix == ".safetensors"
        else next((path / n for n in _FILES if (path / n).is_file()), None)
    )
    if path.suffix in _CODE:
        do = "give its .safetensors; files that may hold code are not read"
        raise DataError("this is no file of tensors alone", str(path), do)
    if others is not None and not (others.parent / CONFIG).is_file():
        return _of_others(others, layers)
    with named_by(_WHERE):
        file = find(path, _WHERE)
        checkpoint = read(file)
    told = describe(checkpoint, file)
    tune, average = tune_of(told.config, plugins), average_of(ema, told.decays, file)
    if isinstance(tune, Concept):
        return _of_word(tune, weights_of(checkpoint, average, file), file, told.base)
    if not isinstance(tune, Adapter):
        do = "give a run of tune=lora, concept, ...; a whole model is task.ckpt"
        raise ConfigError(f"{file} holds a whole model, and no adapters", _WHERE, do)
    parts = by_layer(weights_of(checkpoint, average, file), file)
    return Adapted(file, parts, dict.fromkeys(parts, tune.scale), told.base)


def _of_word(tune: Concept, state: Mapping[str, Tensor], path: Path, base: Mapping[str, str]) -> Adapted:
    vectors = state.get(TUNED)
    if len(state) != 1 or vectors is None or vectors.ndim != 2 or not vectors.is_floating_point():
        do = "use another checkpoint of the run"
        raise DataError(f"these are no vectors of the word {tune.word}", str(path), do)
    return Adapted(path, {}, {}, base, {tune.word: vectors}, tune.keep_norm)


def _of_others(path: Path, layers: Sequence[str]) -> Adapted:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            state: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            metadata = file.metadata() or {}
            config = _config(path, metadata)
    except (OSError, ValueError, SafetensorError) as error:
        raise DataError(f"these adapters cannot be read: {error}", str(path), "give a whole file") from error
    if (words := words_of_file(state, path)) is not None:
        return Adapted(path, {}, {}, base_said(metadata), words)
    alphas = {name.removesuffix(".alpha"): v for name, v in state.items() if name.endswith(".alpha")}
    known = {**{name.replace(".", "_"): name for name in layers}, **{name: name for name in layers}}
    named = {_own_name(name): value for name, value in state.items() if not name.endswith(".alpha")}
    found = by_layer(named, path)
    alpha, stabilised = config.get("lora_alpha", config.get("alpha")), bool(config.get("use_rslora"))
    parts, scales = dict[str, Parts](), dict[str, float]()
    for name, part in found.items():
        layer = _layer(name, known)
        if layer is None:
            do = "give adapters of a network with the same layers"
            raise DataError(f"the model has no layer {name[:200]}", str(path), do)
        own = float(alphas[name]) if name in alphas and alphas[name].numel() == 1 else alpha
        rank = rank_of(part) or config.get("r")
        if rank != config.get("r", rank) and not config.get("rank_pattern"):
            what = f"{PEFT_CONFIG} says the rank r={config['r']}, and the weights have {rank}"
            do = "put the file back that was written with these weights"
            raise DataError(what, str(path), do)
        parts[layer], scales[layer] = part, scale_of(_number(own), rank, stabilised)
    return Adapted(path, parts, scales, None)


def _number(value: Any) -> float | None:
    sound = isinstance(value, (int, float)) and math.isfinite(value)
    return float(value) if sound else None


def _config(path: Path, metadata: Mapping[str, str]) -> dict[str, Any]:
    """Return what peft or diffusers say beside the weights. Raises ValueError, OSError, DataError."""
    if (path.parent / PEFT_CONFIG).is_file():
        config = read_json(path.parent / PEFT_CONFIG)
    else:
        config = json.loads(metadata.get("lora_adapter_metadata", "{}"))
        config = {str(k).removeprefix("unet."): v for k, v in config.items()} if is_dict(config) else {}
    if config.get("alpha_pattern"):
        raise DataError("it has a scale for each layer", str(path), "write it with one alpha")
    rank = config.get("r")
    if rank is not None and (type(rank) is not int or not 1 <= rank <= MOST_RANK):
        what = f"{PEFT_CONFIG} says the rank r={rank!r:.40}, where 1 to {MOST_RANK:,} can be"
        raise DataError(what, str(path), "put the file back that was written with these weights")
    return config


def _own_name(name: str) -> str:
    """Return the name of a weight with the words of peft."""
    for theirs, own in _OWN_WORDS.items():
        name = name.replace(f".{theirs}.", f".{own}.")
    return name.removeprefix("base_model.model.")


def _layer(name: str, known: Mapping[str, str]) -> str | None:
    """Return the layer of the model that a file calls so."""
    rest = name.removeprefix("lora_unet_").removeprefix("unet.").removeprefix("diffusion_model.")
    ways = (name, f"{_NETWORK}{rest}", f"{_NETWORK.replace('.', '_')}{rest}")
    return next((known[way] for way in ways if way in known), None)


def peft_config(tune: Adapter, model: Model) -> dict[str, Any]:
    """Return what peft has to know of the adapters of a model, as plain values."""
    import peft

    layers = by_layer(tune.state(model), Path())
    config: dict[str, Any] = tune.config(peft, anchored(list(layers))).to_dict()
    plain = {k: sorted(v) if isinstance(v, set) else getattr(v, "value", v) for k, v in config.items()}
    return {**plain, "inference_mode": True}
