"""What to type next, after a training or an evaluation: lines that work when pasted."""

import re
import shlex
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from diffexp.config.argv import command
from diffexp.config.suggest import resume_of
from diffexp.redact import redact_typed
from diffexp.run.console import near
from diffexp.training.budget import KEYS, budget_of

if TYPE_CHECKING:  # which needs torch
    from diffexp.model.model import Model
    from diffexp.run.job import Job

_OF_ONE_FOLDER = ("name", "dir", "resume", "dry_run")
_OF_ONE_RUN = (*_OF_ONE_FOLDER, "init", "schedule")
"""Groups and keys that another training has otherwise."""


def suggestions(
    job: "Job", model: "Model", captions: Sequence[str] | None = None, results: Mapping[str, Any] = {}
) -> list[str]:
    """Return command lines: for a training to sample, evaluate, train longer, and ask something else of it;
    for an evaluation to sample and evaluate. captions: of its images; results: of a training, which say
    what has ended it.
    """
    trained = "ckpt" not in job.config["task"]
    ckpt = near(job.folder) if trained else job.config["task"]["ckpt"]
    if ckpt is None:  # a closed form, which has none
        return []
    sampling = [f"task.ckpt={ckpt}", *_plugins(job)]
    lines = [
        ["task=sample", *sampling, "task.n=16", *_asked(model, captions)],
        ["task=evaluate", *sampling, *_steps(job)],
    ]
    if trained:
        more = [longer(job, results), *(_patience(job) if "stopped" in results else [])]
        lines += [
            [resume_of(ckpt), *_plugins(job), *more],
            _other(job),
        ]
    return [shlex.join([*command(), *line]) for line in lines]


def longer(job: "Job", results: Mapping[str, Any]) -> str:
    """Return what lets a training go on: four times as much of the limit that has ended it."""
    trainer, ended = job.config["trainer"], (results.get("budget") or {}).get("ended_by")
    key = ended if ended in KEYS else "max_steps"
    most = getattr(budget_of(trainer), key) if key in KEYS else trainer["max_steps"]
    return f"trainer.{key}={4 * most:.12g}"


def _plugins(job: "Job") -> list[str]:
    return [f"plugins=[{','.join(job.plugins)}]"] if job.plugins else []


def _patience(job: "Job") -> list[str]:
    """Return what lets a training go on that has been ended for want of it."""
    node: Mapping[str, Any] = job.config["callbacks"].get("early_stopping") or {}
    n = node.get("patience")
    return [f"callbacks.early_stopping.patience={2 * n}"] if isinstance(n, int) else []


def _asked(model: "Model", captions: Sequence[str] | None = None) -> list[str]:
    asks, words = model.conditioning.asks, list[str]()
    if "label" in asks and model.class_names:
        words.append(f"task.classes=[{min(3, len(model.class_names) - 1)}]")
    if "text" in asks:
        plain = (text for text in (captions or ())[:1000] if re.fullmatch(r"\w[\w <>.,-]{,79}", text))
        words.append(f'task.prompts=["{next(plain, "a caption")}"]')
    return [*words, "guidance.scale=2"] if model.guidable else words


def _steps(job: "Job") -> list[str]:
    """Return other steps and noise for the sampler of this job, or where it has no such, for DDIM."""
    own = job.config["sampler"]
    known = {"steps", "eta"} <= set(own) and own.get("spacing") in ("leading", "trailing", "linspace")
    return [*([] if known else ["sampler=ddim"]), "sampler.steps=10", "sampler.eta=1"]


def _other(job: "Job") -> list[str]:
    """Return the line of this training with another schedule; of a tuned one, on the same base, with another
    rank, or one vector more.
    """
    typed: Sequence[str] = redact_typed(job.typed)
    choices: Mapping[str, str] = job.choices or {}
    schedule = "cosine" if choices.get("schedule") == "linear" else "linear"
    tune: Mapping[str, Any] = job.config.get("tune") or {}
    for key, more in (("rank", lambda n: 4 * n if n < 64 else n // 4), ("vectors", lambda n: n + 1)):
        if key in tune:  # on the same base, which has its schedule
            n = more(tune[key])
            kept = [text for text in typed if text.split("=")[0] not in (f"tune.{key}", *_OF_ONE_FOLDER)]
            return [*kept, f"tune.{key}={n}", f"name={job.config['name']}_{key}{n}"]
    kept = [text for text in typed if text.split("=")[0].split(".")[0] not in (*_OF_ONE_RUN, "tune")]
    return [*kept, f"schedule={schedule}", f"name={job.config['name']}_{schedule}"]
