"""Resume a run in its folder: from which checkpoint, and whether it is the same run."""

import json
from pathlib import Path
from typing import Any

from diffexp.config.suggest import goes_on
from diffexp.errors import ConfigError, DataError, DiffexpError, DivergedError, Interrupted, ResourceError
from diffexp.files import lines, open_to_append, read_json, write
from diffexp.model.checkpoint import latest, read_checkpoint
from diffexp.notice import say
from diffexp.run.job import Job
from diffexp.run.same import check_same, steps_before, steps_of


def start(job: Job) -> Path | None:
    """Return the checkpoint to resume from; None to begin. Raises ConfigError, DataError."""
    folder, mode = job.folder, job.config["resume"]
    if mode not in ("auto", "never"):
        raise ConfigError(f"resume={mode}", "resume", "give auto, never, or the folder of a run")
    ckpt = latest(folder / "checkpoints")
    if ckpt is None:
        return None
    if mode == "never":
        do = "type resume=auto to go on with it, or choose another folder with dir=..."
        raise ConfigError("there is a run in this folder", str(folder), do)
    check_same(job, ckpt)
    return ckpt


def lost_rank(folder: Path, error: RuntimeError) -> DiffexpError | None:
    """Return the error for another rank that has died, by the words of gloo or NCCL; None for others."""
    text = str(error).strip().splitlines()[0] if str(error).strip() else ""
    if not any(word in text.lower() for word in ("gloo", "nccl", "connection", "timed out", "socket")):
        return None
    what = f"another rank has died, or is out of reach ({text[:160]})"
    saved = latest(folder / "checkpoints")
    if saved is None:
        do = "look for what ended it, and type the same command again"
        return ResourceError(f"{what}; nothing was saved yet", "trainer.devices", do)
    return Interrupted(what, str(saved), f"{goes_on(folder)} goes on")


def finished(job: Job) -> dict[str, Any] | None:
    """Return the results of a run that has ended, with as many steps as are wanted now."""
    path = job.folder / "run.json"
    if job.config.get("resume") != "auto" or not path.exists():
        return None
    record = _small_file(path)
    if record.get("state") != "done" or not isinstance(record.get("results"), dict):
        return None
    return record["results"] if steps_before(job.folder) == steps_of(job.config) else None


def after_divergence(job: Job, error: DivergedError, rank: tuple[int, int] = (0, 1)) -> Path:
    """Write divergence.json, and return the checkpoint to go back to, for on_divergence=rollback and the
    first time, in a run on one rank. Raise the error with the last good checkpoint in it otherwise.
    """
    path, ckpt = job.folder / "divergence.json", latest(job.folder / "checkpoints")
    before = _small_file(path) if path.exists() else {"back_to": None}
    back = before.get("back_to", -1)  # of an earlier version, which did not say
    again = back is not None and rank[1] == 1
    step = None if ckpt is None else read_checkpoint(ckpt)["global_step"]
    stop = ckpt is None or job.config["on_divergence"] == "stop" or again or rank[1] > 1
    if rank[0] == 0:
        details = {**(error.details or {}), "back_to": back if stop else step}
        write(path, json.dumps(details, indent=1) + "\n")
    if ckpt is None:
        raise DivergedError(error.what, "there is no checkpoint before it", error.do) from error
    if stop:
        do = "it has gone back once; lower optimizer.lr" if again else error.do
        raise DivergedError(error.what, f"{ckpt}, of step {step}, is the last that is good", do) from error
    say(f"{error.what}\ngoing back to step {step}, with half the learning rate")
    return ckpt


def gone_back(folder: Path, step: int) -> tuple[dict[str, Any] | None, bool]:
    """Return what diverged where a run has gone back, or None, and whether the checkpoint of `step` is of
    before that: it has the whole learning rate yet.
    """
    path = folder / "divergence.json"
    divergence = _small_file(path) if path.exists() else {}
    back = divergence.get("back_to")
    if not isinstance(back, int) or back < 0:
        return None, False
    return divergence, step <= back


def _small_file(path: Path) -> dict[str, Any]:
    """Read a small file of the run; {} and a line on the screen where it is damaged."""
    try:
        return read_json(path)
    except (DataError, OSError) as error:
        why = error.what if isinstance(error, DataError) else str(error)
        say(f"{path}: {why}; the run goes on without it")
        return {}


def cut(path: Path, step: int) -> None:
    """Cut metrics.jsonl after the lines of that step: the steps after it come again.

    Lines that are damaged are left out, and counted on the screen. Raises DataError for a link.
    """
    if not path.exists():
        return
    open_to_append(path).close()  # or it would be read through a link
    *texts, last = lines(path)
    rows = [(text, _step(text)) for text in texts if text]
    if damaged := sum(at is None for _, at in rows):
        say(f"{path}: {damaged} damaged lines are left out")
    if last and (at := _step(last)) is not None:  # else it was cut off when the power failed
        rows.append((last, at))
    kept = [text for text, at in rows if at is not None and at <= step and "final/" not in text]
    write(path, "".join(f"{text}\n" for text in kept))


def _step(text: str) -> float | None:
    """Return the step of a line, 0 for none; None for what is no line of ours."""
    try:
        row = json.loads(text)
        step = row.get("step") or 0
    except (ValueError, AttributeError, RecursionError):
        return None
    return step if isinstance(step, (int, float)) and "\ufffd" not in text else None
