"""What can be typed next, for the TAB of a shell: groups, options, keys, run folders. It loads no torch."""

from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from diffexp.config.hydra_errors import composed
from diffexp.config.search import groups, options
from diffexp.listing import below
from diffexp.run.latest import LATEST, RUNS

COMMANDS = ("runs", "completion")
_FLAGS = ("--cfg", "--config-dir", "--config-name", "--help", "--multirun", "--resolve", "-cd", "-cn", "-m")
_AFTER = {"--cfg": ("job", "hydra", "all"), "-c": ("job", "hydra", "all")}
_LAUNCHERS = "hydra/launcher"


def candidates(conf: Path, typed: Sequence[str]) -> list[str]:
    """Return the words that the last one of `typed` may become; none where file names are better."""
    *before, word = typed or [""]
    last = before[-1] if before else ""
    if last in ("-cn", "--config-name"):
        return _begun(word, [name for name in options(conf, "") if name != "config"])
    if last in ("-cd", "--config-dir") or (before and before[0] in COMMANDS):
        return []
    if last in _AFTER:
        return _begun(word, _AFTER[last])
    if word.startswith("-"):
        return _begun(word, _FLAGS)
    overrides = [text for text in before if "=" in text and not text.startswith("-")]
    sign = word[: len(word) - len(word.lstrip("+~"))]
    key, equal, value = word[len(sign) :].partition("=")
    if equal:
        many = value[: value.rfind(",") + 1]  # of a sweep: what is typed before the last comma stays
        values = _values(conf, key, overrides, value[len(many) :])
        return [f"{sign}{key}={many}{text}" for text in values]
    return [sign + text for text in _keys(conf, key, overrides)] + ([] if before else _begun(word, COMMANDS))


def _begun(word: str, known: Sequence[str]) -> list[str]:
    return [text for text in known if text.startswith(word)]


def _keys(conf: Path, key: str, overrides: Sequence[str]) -> list[str]:
    known = [*groups(conf), _LAUNCHERS]
    above, _, _ = key.rpartition(".")
    made = composed(conf, overrides)
    node = OmegaConf.select(made, above) if above else made
    names = [str(name) for name in node] if isinstance(node, DictConfig) else []
    full = [f"{above}.{name}" if above else name for name in names if not name.startswith("_")]
    inside = [f"{path}." for path in full if path not in known and _is_node(made, path)]
    values = [f"{path}=" for path in full if path not in known and f"{path}." not in inside]
    return sorted(_begun(key, [*values, *inside, *(f"{name}=" for name in known if not above)]))


def _is_node(made: DictConfig, path: str) -> bool:
    parent, _, name = path.rpartition(".")
    node = OmegaConf.select(made, parent) if parent else made
    return OmegaConf.is_dict(node._get_node(name))  # without resolving what it is interpolated from


def _values(conf: Path, key: str, overrides: Sequence[str], value: str) -> list[str]:
    if key == _LAUNCHERS:
        return _begun(value, [*options(conf, key), "diffexp"])
    if key in groups(conf):
        return _begun(value, options(conf, key))
    if key in ("resume", "init", "dir") or key.endswith("ckpt"):
        also = ("auto", "never") if key == "resume" else ()
        return _begun(value, [*also, *_folders()])
    there = OmegaConf.select(composed(conf, overrides), key, throw_on_missing=False)
    return _begun(value, ("true", "false")) if isinstance(there, bool) else []


def _folders() -> list[str]:
    """Return the runs below runs/ that have a checkpoint, the last one first."""
    runs = [path for path in below(Path(RUNS)) if (path / "checkpoints").is_dir()]
    latest = [LATEST] if Path(LATEST).is_symlink() else []
    return [*latest, *sorted(map(str, runs), key=lambda path: path.rpartition("/")[2], reverse=True)]
