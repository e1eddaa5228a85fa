"""The callback that samples the averaged weights every k epochs, measures and draws the samples.
task=evaluate (tasks/evaluate.py) does it for a checkpoint.
"""

from collections.abc import Callable
from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer

from diffexp.metrics.evaluator import Evaluation, Evaluator
from diffexp.training.drift import Drift
from diffexp.training.logger import TrackedLogger
from diffexp.training.module import DiffusionModule
from diffexp.training.tolerance import Tolerance
from diffexp.training.tracker import safely


class Stopped(Exception):
    """A signal asked to stop between two batches of samples."""


class EvaluateSamples(Callback):
    """Log val/<metric>, and write samples/step_<step>.png, every `evaluator.every` epochs.

    One that fails is logged and counted, and training goes on; three in a row raise ResourceError. asked:
    when it says so, an evaluation is left out, for whoever asks to stop does not wait for it. check: called
    before a picture is written. drift: measures it as well, val/drift and val/drift_pairs.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        folder: Path,
        asked: Callable[[], bool] = lambda: False,
        check: Callable[[], None] = lambda: None,
        drift: Drift | None = None,
    ) -> None:
        self.evaluator, self.folder, self.asked, self.check = evaluator, folder, asked, check
        self.drift = drift
        self.tolerance = Tolerance(
            "the evaluation", "see the traceback in the log, or type evaluator.every=0"
        )

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        every = self.evaluator.every
        if not every or trainer.sanity_checking or (trainer.current_epoch + 1) % every:
            return
        assert isinstance(pl_module, DiffusionModule)
        with self.tolerance(trainer.global_step):
            try:
                self._evaluate(trainer, pl_module)
            except Stopped:
                print(f"the evaluation at step {trainer.global_step} is left out", flush=True)

    def _heed(self, done: int, total: int) -> None:
        if self.asked():
            raise Stopped

    def _evaluate(self, trainer: Trainer, pl_module: DiffusionModule) -> None:
        rank = (trainer.global_rank, trainer.world_size)
        # other ranks would wait for this one
        heed = self._heed if trainer.world_size == 1 else None
        result = self.evaluator.run(pl_module.averaged(), device=pl_module.device, progress=heed, rank=rank)
        if self.drift is not None:
            result.values |= self.drift.measure(pl_module.averaged(), pl_module.device, rank)[0]
        values = {f"val/{k}": v for k, v in result.values.items()}
        pl_module.log_dict(values, sync_dist=True, batch_size=1)  # the same on every rank
        if trainer.is_global_zero:
            self.check()
            show(trainer, pl_module, result, self.folder)


def show(trainer: Trainer, module: DiffusionModule, result: Evaluation, folder: Path) -> Path:
    """Draw the grid, give it to the tracker, and return where it lies."""
    step = trainer.global_step
    values = ", ".join(f"{k} {v:.4g}" for k, v in result.values.items())
    title = f"step {step}, {result.nfe:g} calls{', ' + values if values else ''}"
    path = result.draw(module.model.class_names, title, folder / "samples" / f"step_{step:08d}.png")
    for logger in trainer.loggers:
        if isinstance(logger, TrackedLogger):
            safely(logger.run.image, "val/samples", path, step)
    return path
