"""Fitting, from the beginning or from a checkpoint, and what is said where it fails."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from lightning import Trainer

from diffexp.errors import DataError, DiffexpError, ResourceError
from diffexp.model.checkpoint import read_checkpoint
from diffexp.notice import say
from diffexp.run.folder import Record
from diffexp.run.job import Job
from diffexp.run.longer import rate_change, words
from diffexp.run.resume import cut, gone_back, lost_rank
from diffexp.training.check_restored import CheckRestored
from diffexp.training.data_module import DataModule
from diffexp.training.divergence import LowerRate
from diffexp.training.logger import TrackedLogger
from diffexp.training.lr import LearningRate
from diffexp.training.tracker import safely
from diffexp.training.trained import Trained


def going_on(job: Job, trainer: Trainer, module: Trained, record: Record, ckpt: Path | None) -> None:
    """Prepare `fit`: say from which step the run goes on and what is otherwise than before, cut metrics.jsonl
    at that step, and what trackers have, and keep a learning rate that was halved. Raises DataError.
    """
    folder = Path(trainer.default_root_dir)
    step, ranks, checkpoint = -1, trainer.world_size, dict[str, Any]()
    if ckpt is not None:
        step, ranks, checkpoint = _position(ckpt, module.optimizer_count)
        diverged, whole_rate = gone_back(folder, step)
        if diverged is not None:
            record.results["rolled_back"] = diverged
        if whole_rate:
            trainer.callbacks.append(LowerRate())  # type: ignore[attr-defined]
    if trainer.is_global_zero:
        cut(folder / "metrics.jsonl", step)  # also of a run killed before it had a checkpoint
        for logger in trainer.loggers:
            if isinstance(logger, TrackedLogger):
                safely(logger.run.cut, step)
        if ckpt is None:
            (folder / "divergence.json").unlink(missing_ok=True)  # of a run that was here before
        else:
            say(f"going on from step {step}: {ckpt}")
        if (change := tell_rate(checkpoint, job, module.lr)) is not None:
            record.tell_longer(change)
        if ranks != trainer.world_size:
            say(f"on {trainer.world_size} ranks in place of {ranks}: the same up to the order of sums")
    trainer.strategy.barrier()


def tell_rate(ckpt: Path | dict[str, Any], job: Job, lr: LearningRate) -> dict[str, Any] | None:
    """Say what the learning rate does where a run goes on with other steps; return it, None for nothing."""
    checkpoint = read_checkpoint(ckpt) if isinstance(ckpt, Path) else ckpt
    change = rate_change(checkpoint, job.config, lr)
    if change is not None:
        say(words(change, lr))
    return change


def _position(ckpt: Path, optimizers: int) -> tuple[int, int, dict[str, Any]]:
    """Return the step, the number of ranks, and the whole of a checkpoint of a training with so many
    optimizers. Raises DataError.
    """
    checkpoint = read_checkpoint(ckpt)
    with suppress(KeyError, TypeError, AttributeError):
        step, ranks = checkpoint["global_step"], checkpoint["diffexp"].get("ranks", 1)
        whole = len(checkpoint["optimizer_states"]) == len(checkpoint["lr_schedulers"]) == optimizers
        whole = whole and bool(checkpoint["loops"])  # without, Lightning would begin at step 0
        if type(step) is type(ranks) is int and step >= 0 and whole:
            return step, ranks, checkpoint
    raise _unfit(ckpt, "its step, its place in the data, its optimizer or its learning rate is missing")


def _unfit(ckpt: Path, why: str, do: str = "") -> DataError:
    do = do or "use another checkpoint of the run, or begin in another folder with dir=..."
    return DataError(f"training cannot go on from this checkpoint: {why}", str(ckpt), do)


def fit(trainer: Trainer, module: Trained, loader: DataModule, ckpt: Path | None) -> None:
    """Train to the end. Raises DiffexpError: DataError for a checkpoint that does not fit the run."""
    restored = CheckRestored()
    trainer.callbacks.append(restored)  # type: ignore[attr-defined]
    try:
        trainer.fit(module, loader, ckpt_path=ckpt)
    except SystemExit as error:  # what Lightning makes of Ctrl-C and SIGTERM, without a word
        raise KeyboardInterrupt from error
    except torch.OutOfMemoryError as error:
        raise _no_memory(loader, error) from error
    except DataError as error:
        if ckpt is None or restored.begun:
            raise
        raise _unfit(ckpt, error.what, error.do) from error
    except (DiffexpError, OSError):
        raise
    except Exception as error:
        ranks, lost = trainer.world_size, None
        if ranks > 1 and isinstance(error, RuntimeError):
            lost = lost_rank(Path(trainer.default_root_dir), error)
        if lost is not None:
            raise lost from error
        if ckpt is not None and not restored.begun:
            first = (str(error) or "no text").splitlines()[0]
            raise _unfit(ckpt, f"{type(error).__name__}: {first[:150]}") from error
        raise
    if not trainer.state.finished:
        raise DiffexpError("training has stopped before its end", "", "see the log in the run folder")


def _no_memory(loader: DataModule, error: torch.OutOfMemoryError) -> ResourceError:
    do = "lower loader.batch_size (and raise trainer.accumulate_grad_batches), or precision=bf16"
    size = "x".join(map(str, loader.shape))
    peak = f" at {torch.cuda.max_memory_allocated() >> 20:,} MB" if torch.cuda.is_available() else ""
    what = f"out of memory{peak}, with {loader.batch_size} images of {size}"
    return ResourceError(f"{what}: {str(error).splitlines()[0]}", "loader.batch_size", do)
