"""Check that the run in a folder is the one that is typed, by the configuration that it was begun with."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from diffexp.config.moved import is_neutral, moved
from diffexp.config.untrusted import read_yaml
from diffexp.errors import ConfigError, DataError
from diffexp.model.checkpoint import latest, read_checkpoint
from diffexp.notice import say
from diffexp.run.job import Job
from diffexp.training.budget import budget_before

MAY_CHANGE = (  # keys that change no result of the steps that are left
    "dir", "name", "resume", "dry_run", "sweep", "logger", "callbacks", "evaluator", "metrics", "sampler",
    "guidance", "clip", "data_root", "task", "choices", "trainer.max_steps", "trainer.max_time",
    "trainer.max_flops", "trainer.accelerator",
    "trainer.devices", "trainer.num_nodes", "trainer.strategy", "trainer.log_every_n_steps",
    "trainer.check_val_every_n_epoch", "loader.workers", "loader.eval_batch_size", "lr.steps", "compile",
    "plugins", "experiment", "on_divergence", "data.download", "tune.base",
    "text_encoder.cache", "text_encoder.cache_gb", "codec.cache", "codec.folder", "codec.ckpt", "codec.path",
)  # fmt: skip
COPIED = (  # copies of top-level nodes, which are judged where they were typed
    "model.", "loader.data.", "conditioning.encoder.", "snr.schedule", "objective.weighting",
    "objective.times", "objective.terms", "autoencoder.optimizer.", "autoencoder.lr.", "autoencoder.ema.",
    "autoencoder.terms.",
)  # fmt: skip


def check_same(job: Job, ckpt: Path) -> None:
    """Raise ConfigError for another run than that of `ckpt`.

    Where config.yaml is missing, damaged or not of this run, and the checkpoint's own configuration is, a
    line on the screen says so, and the file is not needed.
    """
    in_file = _of_file(job.folder)
    changed = None if in_file is None else _changed(job, in_file)
    if changed == []:
        return
    kept = _of_checkpoint(ckpt) or {}
    of_checkpoint = _changed(job, kept)
    if kept and not of_checkpoint:
        path = job.folder / "config.yaml"
        say(f"{path} is missing or damaged; the configuration in the checkpoint is that of this run")
        return
    changed = changed or of_checkpoint
    shown = "; ".join(changed[:5]) + (f"; and {len(changed) - 5} more" if len(changed) > 5 else "")
    do = "type what was typed before, or begin in another folder with dir=..."
    raise ConfigError(f"the run in this folder was another: {shown}", str(job.folder), do)


def steps_before(folder: Path) -> Any:
    """Return how long the run in a folder was to be, None where no file says it. Raises DataError."""
    config = _of_file(folder)
    if config is None and (ckpt := latest(folder / "checkpoints")) is not None:
        config = _of_checkpoint(ckpt)
    return steps_of(config or {})


def precision_before(folder: Path) -> Any:
    """Return the precision of the run in a folder, None where no file says it."""
    return (_of_file(folder) or {}).get("precision")


def _of_file(folder: Path) -> Mapping[str, Any] | None:
    try:
        config = read_yaml(folder / "config.yaml")
    except (OSError, DataError):
        return None
    return config if config and isinstance(config, Mapping) else None


def _of_checkpoint(ckpt: Path) -> Mapping[str, Any] | None:
    description = read_checkpoint(ckpt)["diffexp"]
    config = description.get("config") if isinstance(description, Mapping) else None
    return config if isinstance(config, Mapping) else None


def _changed(job: Job, config: Mapping[str, Any]) -> list[str]:
    """List what differs in a way that makes another run, as "key before -> now"."""
    before, now = dict(_flat(config)), dict(_flat(job.public()))
    before, now = ({k: moved(v) for k, v in values.items()} for values in (before, now))
    typed = tuple(f"{text.lstrip('+~').partition('=')[0]}." for text in job.typed)
    longer = steps_of(config) != steps_of(job.config)
    return [
        f"{key} {before.get(key)} -> {now.get(key)}"
        for key in sorted({*before, *now})
        if before.get(key) != now.get(key)
        and not _may_change(key, longer)
        and (key in before or _counts(key, now.get(key), typed))
    ]


def _counts(key: str, value: Any, typed: tuple[str, ...]) -> bool:
    """Return whether a key that the run did not have makes another run: one of a later version has the
    default that keeps what was done before it.
    """
    neutral = is_neutral(key, value)
    return f"{key}.".startswith(typed) if neutral is None else not neutral


def _may_change(key: str, longer: bool) -> bool:
    """Return whether a key may differ in the same run; longer: with another number of steps, whose learning
    rate is a question of its own.
    """
    may = (*MAY_CHANGE, "lr") if longer else MAY_CHANGE
    return key.startswith(COPIED) or any(key == k or key.startswith(f"{k}.") for k in may)


def steps_of(config: Mapping[str, Any]) -> Any:
    """Return trainer.max_steps with the budget, None where there is none."""
    trainer = config.get("trainer")
    return (trainer.get("max_steps"), budget_before(trainer)) if isinstance(trainer, Mapping) else None


def _flat(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(node, Mapping) and node:
        for key, value in node.items():
            yield from _flat(value, f"{path}.{key}" if path else str(key))
    else:
        yield path, node
