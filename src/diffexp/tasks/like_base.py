"""A training that adapts another run: what has to fit that run, and was not typed, is as there."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from diffexp.archive import is_dict
from diffexp.config.build import locate
from diffexp.errors import ConfigError
from diffexp.model.base import ANY
from diffexp.model.find import describe, find, named_by, read
from diffexp.model.restore import judged_model
from diffexp.notice import chosen
from diffexp.run.job import Job, kind_of_task
from diffexp.run.ready import with_typed

_MODES = {1: "L", 3: "RGB"}


def like_base(cfg: DictConfig, typed: Sequence[str], choices: Mapping[str, str]) -> dict[str, str]:
    """Give a training that adapts init=RUN, in its composed configuration, the network, conditioning, text
    encoder, prediction, variance, schedule and codec of that run, and its size of images, but for what was
    typed; say it in a line. Return which option it has of each group then. Raises DiffexpError.
    """
    place, where = _base_of(cfg)
    if place is None:
        return dict(choices)
    with named_by(where):
        file = find(place, where)
        told = describe(read(file), file)
    keys = [text.lstrip("+~").partition("=")[0] for text in typed]
    own: Any = OmegaConf.to_container(cfg, resolve=True)
    theirs = _parts(judged_model(told, Job(own, Path()).plugins, file), keys)
    made, said = dict(choices), list[str]()
    options: Any = told.config.get("choices")
    with open_dict(cfg):
        for group, node in theirs.items():
            for key in (k for k in keys if k.startswith(f"{group}.")):
                node = with_typed(node, own[group], key.split(".")[1:], key, told.config)
            if _same(node, own.get(group)):
                continue
            cfg[group] = node
            option = options.get(group) if is_dict(options) else None
            made |= {group: option} if isinstance(option, str) else {}
            said.append(f"{group}={option if isinstance(option, str) else node.get('_target_')}")
        said += _sized(cfg.data, "data", told.shape, keys)
    if said:
        chosen(f"{', '.join(said)}, as in {place}, the base")
    return made


def _base_of(cfg: DictConfig) -> tuple[str | None, str]:
    """Return where the run lies that a training adapts, None for another job, and the key that says it."""
    config: Any = OmegaConf.to_container(cfg, resolve=False)
    tune, allowed = config.get("tune"), Job(config, Path()).allowed
    if not config.get("init") or not is_dict(tune) or not isinstance(config.get("data"), dict):
        return None, ""
    try:
        trains = getattr(kind_of_task(config, allowed), "kind", "") == "train"
        choice = locate(tune.get("_target_"), "tune._target_", allowed)
    except ConfigError:  # which the checks say, with the others
        return None, ""
    if not trains or not getattr(choice, "needs_base", False):
        return None, ""
    base = tune.get("base")
    return (str(config["init"]), "init") if base in (None, ANY) else (str(base), "tune.base")


def _parts(model: Mapping[str, Any], keys: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return the nodes of a model by their groups, but for those of which an option was typed."""
    parts = {key: dict(node) for key, node in model.items()}
    snr, conditioning = parts.pop("schedule"), parts["conditioning"]
    if is_dict(snr.get("schedule")):
        parts["schedule"], snr["schedule"] = snr["schedule"], "${schedule}"
    parts["snr"] = snr
    if is_dict(conditioning.get("encoder")) and "conditioning" not in keys:
        parts["text_encoder"], conditioning["encoder"] = conditioning["encoder"], "${text_encoder}"
    return {group: node for group, node in parts.items() if group not in keys}


def _same(node: Mapping[str, Any], own: Any) -> bool:
    """Return whether a node has the values of the base, but for places to write to and copies of others."""
    return is_dict(own) and all(
        key in own and (own[key] == value or str(value).startswith("${")) for key, value in node.items()
    )


def _sized(data: Any, path: str, shape: Sequence[int], keys: Sequence[str]) -> Iterator[str]:
    """Give data that can have any size and mode those of the base; yield what was changed."""
    channels, height, width = shape
    wanted = {"size": height if height == width else [height, width], "mode": _MODES.get(channels)}
    for key, value in wanted.items():
        own = data.get(key)
        if value is None or own is None or f"{path}.{key}" in keys or own == value:
            continue
        data[key] = value
        yield f"{path}.{key}={str(value).replace(' ', '')}"
    parts = data.get("parts")
    for name, part in (parts or {}).items() if isinstance(parts, DictConfig) else ():
        yield from _sized(part, f"{path}.parts.{name}", shape, keys)
