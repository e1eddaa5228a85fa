"""What the tasks that train have in common: the tracker around them, the trainer, and the way back."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from lightning import Trainer
from lightning.pytorch import Callback

from diffexp.errors import DivergedError, Interrupted
from diffexp.report.tracking import Tracking
from diffexp.run.fit import fit, going_on
from diffexp.run.folder import Record
from diffexp.run.job import Job, Task
from diffexp.run.resume import after_divergence, finished
from diffexp.training.budget import budget_of
from diffexp.training.data_module import DataModule
from diffexp.training.early_stopping import EarlyStopping
from diffexp.training.launched import launching
from diffexp.training.log_filters import quiet
from diffexp.training.logger import Jsonl, TrackedLogger
from diffexp.training.saving import AtomicCheckpointIO, Checkpoint
from diffexp.training.signals import deaf
from diffexp.training.spending import Spending
from diffexp.training.trained import Trained


@dataclass(frozen=True)
class Fitting(Task):
    """A task that trains with Lightning: it goes on where it was stopped."""

    trains: ClassVar[bool] = True
    tracked: ClassVar[bool] = False
    kind: ClassVar[str] = "train"
    """What the tracker calls its runs."""

    def done(self, job: Job) -> dict[str, Any] | None:
        """Return the results of the run in this folder, if it has ended."""
        return finished(job)

    def network_calls(self, job: Job) -> int:
        """Return the images of all steps, each seen once by the network."""
        trainer, loader = job.config["trainer"], job.config["loader"]
        return trainer["max_steps"] * trainer.get("accumulate_grad_batches", 1) * loader["batch_size"]

    def run(self, job: Job, record: Record) -> None:
        quiet()
        tracking = Tracking.of(job, self.kind)
        try:
            launching()
            self.train(job, record, tracking)
        except BaseException as error:
            with deaf():
                tracking.alert(error)
                tracking.close(failed=not isinstance(error, Interrupted))
            raise
        tracking.close()

    @abstractmethod
    def train(self, job: Job, record: Record, tracking: Tracking) -> None:
        """Train and measure. Raises DiffexpError."""
        ...


@dataclass
class Training:
    """One training. make: builds its module anew and loads it; trainer: builds its trainer."""

    job: Job
    record: Record
    tracking: Tracking
    loader: DataModule
    make: Callable[[], Any]
    trainer: Callable[[], Trainer]

    def fit(self, module: Trained, trainer: Trainer, ckpt: Path | None) -> tuple[Any, Trainer]:
        """Train to the end, with one way back after a divergence where that is asked for. Return the module
        that was trained, and its trainer. Raises DiffexpError.
        """
        try:
            self._fit(module, trainer, ckpt)
        except DivergedError as error:
            self.record.check()
            # raises it again, unless there is a way back
            ckpt = after_divergence(self.job, error, (trainer.global_rank, trainer.world_size))
            self.tracking.alert(error)
            self.tracking.close()
            module, trainer = self.make(), self.trainer()
            try:
                self._fit(module, trainer, ckpt)
            except DivergedError as again:
                after_divergence(self.job, again)
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, EarlyStopping) and callback.ended is not None:
                self.record.results["stopped"] = callback.ended
            if isinstance(callback, Spending):
                self.record.results["budget"] = callback.cost(trainer).row()
        return module, trainer

    def _fit(self, module: Trained, trainer: Trainer, ckpt: Path | None) -> None:
        going_on(self.job, trainer, module, self.record, ckpt)
        fit(trainer, module, self.loader, ckpt)


def make_trainer(
    job: Job,
    tracking: Tracking,
    record: Record,
    before: Callable[[Callable[[], bool]], Sequence[Callback]] = lambda asked: (),
    **options: Any,
) -> Trainer:
    """Build the trainer. before: makes the callbacks that act before the configured ones, given whether a
    signal has asked to stop; options: of the trainer, in place of the configured ones.
    """
    others = job.build("callbacks")
    keeper = others.get("checkpoint")
    saves = isinstance(keeper, Checkpoint)
    io = keeper.io if saves else AtomicCheckpointIO()
    io.check = record.check
    run, budget = tracking.open(), budget_of(job.config["trainer"])
    counted = [Spending(budget)] if budget else []
    return job.build("trainer")(
        callbacks=[*before(keeper.asked if saves else lambda: False), *counted, *others.values()],
        logger=[
            Jsonl(job.folder / "metrics.jsonl", record.check),
            *([TrackedLogger(run)] if run is not None else []),
        ],
        plugins=[io],
        default_root_dir=job.folder,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,  # the data module knows ranks
        num_sanity_val_steps=0,
        **{"precision": "16-mixed" if job.config["precision"] == "fp16" else "32-true", **options},
    )
