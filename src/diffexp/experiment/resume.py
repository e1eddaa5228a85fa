"""Going on with a run in its folder: from which checkpoint, and whether it is the same run."""

import json
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from diffexp.errors import ConfigError, DiffexpError, DivergedError, Interrupted, ResourceError
from diffexp.experiment.foreign import read_yaml
from diffexp.experiment.job import Job
from diffexp.files import write
from diffexp.training.checkpoint import latest, read_checkpoint

MAY_CHANGE = (  # without another result of the steps that are left
    "dir", "name", "resume", "dry_run", "sweep", "logger", "callbacks", "evaluator", "metrics", "sampler",
    "guidance", "clip", "data_root", "task", "choices", "trainer.max_steps", "trainer.accelerator",
    "trainer.log_every_n_steps", "trainer.check_val_every_n_epoch", "loader.workers",
    "loader.eval_batch_size", "lr.steps", "compile", "plugins", "experiment", "on_divergence",
)  # fmt: skip


def start(job: Job) -> Path | None:
    """The checkpoint to go on from; None to begin. Raises ConfigError, DataError."""
    folder, mode = job.folder, job.config["resume"]
    if mode not in ("auto", "never"):
        raise ConfigError(f"resume={mode}", "resume", "give auto, never, or the folder of a run")
    found = latest(folder / "checkpoints")
    if found is None:
        return None
    if mode == "never":
        do = "type resume=auto to go on with it, or choose another folder with dir=..."
        raise ConfigError("there is a run in this folder", str(folder), do)
    _check_same(job, folder / "config.yaml")
    return found


def lost_rank(folder: Path, error: RuntimeError) -> DiffexpError | None:
    """What is said where another rank has died, in the words of gloo or NCCL; None for another error."""
    text = str(error).strip().splitlines()[0] if str(error).strip() else ""
    if not any(word in text.lower() for word in ("gloo", "nccl", "connection", "timed out", "socket")):
        return None
    what = f"another rank has died, or is out of reach ({text[:160]})"
    saved = latest(folder / "checkpoints")
    if saved is None:
        do = "look for what ended it, and type the same command again"
        return ResourceError(f"{what}; nothing was saved yet", "trainer.devices", do)
    return Interrupted(what, str(saved), f"python run.py resume={shlex.quote(str(folder))} goes on")


def finished(job: Job) -> dict[str, Any] | None:
    """The results of a run that has ended, with as many steps as are wanted now."""
    path = job.folder / "run.json"
    if job.config.get("resume") != "auto" or not path.exists():
        return None
    told = json.loads(path.read_text())
    before = _read(job.folder / "config.yaml")
    wanted, had = (c.get("trainer", {}).get("max_steps") for c in (job.config, before))
    return told["results"] if told["state"] == "done" and wanted == had else None


def told_divergence(job: Job, error: DivergedError, rank: tuple[int, int] = (0, 1)) -> Path:
    """Writes divergence.json, and returns the checkpoint to go back to, for on_divergence=rollback and the
    first time, of a run on one rank. Raises the error with the last good checkpoint in it otherwise.
    """
    path, ckpt = job.folder / "divergence.json", latest(job.folder / "checkpoints")
    again = path.exists() and rank[1] == 1
    if rank[0] == 0:
        write(path, json.dumps(error.details, indent=1) + "\n")
    if ckpt is None:
        raise DivergedError(error.what, "there is no checkpoint before it", error.do) from error
    step = read_checkpoint(ckpt)["global_step"]
    if job.config["on_divergence"] == "stop" or again or rank[1] > 1:
        do = "it has gone back once; lower optimizer.lr" if again else error.do
        raise DivergedError(error.what, f"{ckpt}, of step {step}, is the last that is good", do) from error
    print(f"{error.what}\ngoing back to step {step}, with half the learning rate", flush=True)
    return ckpt


MOVED = {"diffexp.data.DataModule": "diffexp.training.DataModule"}  # since runs that may go on were begun


def _check_same(job: Job, path: Path) -> None:
    before, now = dict(_flat(_read(path))), dict(_flat(job.public()))
    before = {key: MOVED.get(str(value), value) for key, value in before.items()}
    typed = tuple(f"{text.lstrip('+~').partition('=')[0]}." for text in job.typed)
    changed = [
        f"{key} {before.get(key)} -> {now.get(key)}"
        for key in sorted({*before, *now})
        # a key of a later version has the default that keeps what was done before it
        if before.get(key) != now.get(key)
        and not _may_change(key)
        and (key in before or f"{key}.".startswith(typed))
    ]
    if changed:
        shown = "; ".join(changed[:5]) + (f"; and {len(changed) - 5} more" if len(changed) > 5 else "")
        do = "type what was typed before, or begin in another folder with dir=..."
        raise ConfigError(f"the run in this folder was another: {shown}", str(job.folder), do)


def _may_change(key: str) -> bool:
    # copies of top-level nodes are judged where they were typed
    copied = (
        "model.",
        "loader.data.",
        "snr.schedule",
        "objective.weighting",
        "objective.times",
        "objective.terms",
    )
    return key.startswith(copied) or any(key == k or key.startswith(f"{k}.") for k in MAY_CHANGE)


def _read(path: Path) -> dict[str, Any]:
    try:
        return read_yaml(path) or {}
    except OSError:
        return {}


def _flat(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(node, Mapping) and node:
        for key, value in node.items():
            yield from _flat(value, f"{path}.{key}" if path else str(key))
    else:
        yield path, node


def cut(path: Path, step: int) -> None:
    """Leaves of metrics.jsonl the lines up to that step: the steps after it come again."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            if (json.loads(line).get("step") or 0) <= step and "final/" not in line:
                kept.append(line)
        except ValueError:
            continue  # cut off when the power failed
    part = path.with_name(f".{path.name}.part")
    part.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")
    part.replace(path)
