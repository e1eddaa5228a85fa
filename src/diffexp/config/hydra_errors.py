"""Hydra's errors about the command line, in the words of the one who typed it."""

import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import MarkedYAMLError

from diffexp.config.argv import command
from diffexp.config.compat import BASE
from diffexp.config.search import groups, options
from diffexp.config.suggest import nearest
from diffexp.errors import ConfigError, all_at_once


def explain(error: Exception, typed: Sequence[str], conf: Path) -> ConfigError:
    """Return the same error with the remedy: the nearest key or option, and what there is to choose from."""
    text = str(error)
    if isinstance(error, MarkedYAMLError) and (mark := error.problem_mark) is not None:
        where = f"{mark.name}:{mark.line + 1}"
        return ConfigError(
            f"this file is no YAML: {error.problem}", where, "mend this line, or the one before"
        )
    if match := re.search(r"Could not override '([^']+)'", text):
        return _unknown_key(match[1], typed, conf)
    if match := re.search(r"Could not find '([^']+)/([^'/]*)'", text):
        return _unknown_option(match[1], match[2], conf)
    if match := re.search(r"Cannot find primary config '([^']+)'", text):
        return _unknown_name(match[1], conf)
    if match := re.search(r"Ambiguous value for argument '([^=']+)=([^']*)'", text):
        key, value = match[1], match[2]
        do = f"type '{key}=[{value}]' for a list, or -m {key}={value} for one run each"
        return ConfigError(f"{key}={value} is several values", key, do)
    if match := re.search(r"Error parsing override '([^']*)'", text):
        do = "type key=value, in quotes where it has blanks: 'data.path=a b'; or --help, runs, completion"
        return ConfigError(f"cannot read {match[1]!r}", "command line", do)
    what = " ".join(text.split("\n")[0].split()) or type(error).__name__
    if "no viable alternative" in text or "mismatched input" in text or "extraneous input" in text:
        return ConfigError(what, "command line", "quote the value: 'key=\"value\"', 'key=[1,2]'")
    return ConfigError(
        what, getattr(error, "full_key", "") or "command line", f"see {shlex.join(command())} --help"
    )


def _unknown_key(key: str, typed: Sequence[str], conf: Path) -> ConfigError:
    if key == "data.path":
        do = "type experiment=folder data.path=... for a folder of images, experiment=npz for an array"
        return ConfigError("there is no data.path: the data of this recipe has its own place", key, do)
    *parents, last = key.split(".")
    if key.split(".")[0] == "text_encoder":
        do = "type conditioning=text text_encoder=..., in training: a checkpoint has its own"
        return ConfigError(f"there is no {key} without captions as a condition", key, do)
    if key.split(".")[0] == "autoencoder" and "task=autoencoder" not in typed:
        do = "type task=autoencoder to train one, or codec=autoencoder codec.ckpt=RUN to work in its latents"
        return ConfigError(f"there is no {key} without task=autoencoder", key, do)
    if key.startswith("data.buckets") and "data=buckets" not in typed:
        do = "type data=buckets, which is of a folder of files: other data has one size"
        return ConfigError(f"there is no {key} without data=buckets", key, do)
    if key in (places := {"codec.ckpt": "autoencoder", "codec.path": "autoencoder_diffusers"}):
        do = f"type codec={places[key]} {key}=..."
        return ConfigError(f"there is no {key}: it is of codec={places[key]}", key, do)
    rest = [a for a in typed if "=" in a and not a.startswith("-") and a.split("=")[0].lstrip("+~") != key]
    node = OmegaConf.select(composed(conf, rest), ".".join(parents)) if parents else composed(conf, rest)
    if not isinstance(node, DictConfig):
        top = [str(k) for k in composed(conf, rest)]
        near = nearest(parents[0], top)
        do = f"type {'.'.join([near, *parents[1:], last])}=..." if near else f"choose from {', '.join(top)}"
        return ConfigError(f"there is no {key}", key, do)
    known = [str(k) for k in node if not str(k).startswith("_")]
    near = nearest(last, known)
    do = f"type {'.'.join([*parents, near])}=..." if near else f"see {shlex.join(command())} --cfg job"
    inside = f"{'.'.join(parents)} has {', '.join(known) or 'no keys'}" if parents else "no such key or group"
    return ConfigError(f"there is no {key}: {inside}", key, do)


def configured(conf: Path, typed: Sequence[str]) -> tuple[DictConfig, dict[str, str]]:
    """Return the configuration of a command line, and which option it has of each group. Raises what Hydra
    raises.
    """
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(conf.resolve()), **BASE):
        cfg = compose("config", list(typed), return_hydra_config=True)
    choices = dict(cfg.hydra.runtime.choices)
    OmegaConf.set_struct(cfg, False)
    del cfg["hydra"]
    return cfg, choices


def composed(conf: Path, overrides: Sequence[str]) -> DictConfig:
    """Return the configuration of these overrides; of none where they do not fit."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(conf.resolve()), **BASE):
        try:
            return compose("config", list(overrides))
        except (HydraException, OmegaConfBaseException):
            return compose("config")


def _unknown_option(group: str, option: str, conf: Path) -> ConfigError:
    known = options(conf, group)
    near = nearest(option, known)
    do = f"type {group}={near}" if near else f"choose from {', '.join(known)}"
    return ConfigError(f"there is no {group}={option}; there are {', '.join(known)}", group, do)


def _unknown_name(name: str, conf: Path) -> ConfigError:
    known = [known for known in options(conf, "") if known != "config"]
    do = f"type -cn {nearest(name, known) or '...'}, or -cd FOLDER for the folder that has it"
    return ConfigError(f"there is no {name}.yaml; there are {', '.join(known)}", "-cn", do)


def _unread(cfg: DictConfig, typed: Sequence[str], conf: Path) -> Iterator[ConfigError]:
    """Yield an error for each key beside those of config.yaml that was typed, and that no value names."""
    known = {*groups(conf), *OmegaConf.load(conf / "config.yaml")}
    for key in dict.fromkeys(t.lstrip("+").partition("=")[0] for t in typed if t.startswith("+")):
        top = re.split(r"[.\[]", key.partition("@")[2] or key)[0]
        if top in {*known, "_global_"} or f"${{{top}" in OmegaConf.to_yaml(cfg):
            continue
        near = nearest(top, sorted(map(str, known))) if len(top) > 2 else None
        do = f"type {near}, or leave it away" if near else "leave it away"
        yield ConfigError(f"there is no {top}: nothing reads it", key, f"{do}; --help names what there is")


def before_imports(cfg: DictConfig, typed: Sequence[str], conf: Path) -> None:
    """Raise ConfigError, without torch, for keys that must be set, interpolations that lead nowhere, and keys
    that were added with + where nothing reads them.
    """
    all_at_once(list(_unread(cfg, typed, conf)))
    try:
        for key in sorted(OmegaConf.missing_keys(cfg)):
            raise ConfigError(f"{key} must be set", key, f"type {key}=...")
        OmegaConf.to_container(cfg, resolve=True)
    except OmegaConfBaseException as error:
        what = " ".join(str(error).split("\n")[0].split())
        where = str(error.full_key or "")
        raise ConfigError(what, where, "restore the group or key that it names") from error
    if cfg.task.get("ckpt", "") is None and cfg.network._target_.startswith("diffexp.networks."):
        do = "type task.ckpt=..., a run folder; or network=ideal, gaussian or mixture, which need none"
        raise ConfigError("task.ckpt must be set", "task.ckpt", do)
