"""End a training whose metric has stopped getting better."""

import difflib
from typing import Any, cast

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping as Lightnings

from diffexp.errors import ConfigError, check_at_most
from diffexp.notice import chosen, say, warn
from diffexp.training.direction import KEYS, better_high
from diffexp.training.saving import Checkpoint

_ALWAYS = ("val/loss", "val/bpd")  # of a validation without samples
_KNOWN = (*_ALWAYS, *(f"val/{key}" for key in KEYS), "train/loss", "train/grad_norm")
_WHERE = "callbacks.early_stopping.metric"


class EarlyStopping(Lightnings):
    """End the training when a metric has not got better in `patience` measurements, one after the other.

    metric: what is looked at, or its beginning: val/loss, val/fid, whatever the extractor. A validation that
    does not measure it does not count. min_delta: by how much it has to get better. highest: whether more is
    better; None for what is usual of the metric. A run that goes on has the count of the run before, and the
    options that are typed for it.
    """

    def __init__(
        self, metric: str = "val/loss", patience: int = 5, min_delta: float = 0.0, highest: bool | None = None
    ) -> None:
        if patience < 1:
            do = "give 1 or more"
            raise ConfigError(f"patience={patience}", "callbacks.early_stopping.patience", do)
        check_at_most(10**9, "callbacks.early_stopping", patience=patience)
        if not 0 <= min_delta < float("inf"):
            do = "give 0 or more"
            raise ConfigError(f"min_delta={min_delta}", "callbacks.early_stopping.min_delta", do)
        mode = "max" if (better_high(metric) if highest is None else highest) else "min"
        super().__init__(metric, min_delta, patience, mode=mode, check_on_train_epoch_end=False)
        self.metric, self.seen = metric, False
        self.ended: dict[str, Any] | None = None
        """When it has ended the training: at which step, and why."""

    @property
    def state_key(self) -> str:
        return self._generate_state_key(monitor=self.metric, mode=self.mode)

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"seen": self.seen}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        typed = self.patience
        super().load_state_dict(state_dict)
        self.patience, self.seen = typed, bool(state_dict.get("seen"))

    def check(self, samples: bool, own: bool = False) -> None:
        """Raise ConfigError for a metric that is not measured, or is called otherwise. samples: whether a
        training samples before its end; own: whether there may be metrics that are not ours.
        """
        if not own and (near := _meant(self.metric)) is not None:
            raise ConfigError(f"there is no metric {self.metric}", _WHERE, f"type {_WHERE}={near}")
        if not samples and self.metric not in _ALWAYS and not self.metric.startswith("train/"):
            do = "type evaluator.every=1 (epochs), or callbacks.early_stopping.metric=val/loss"
            raise ConfigError(f"{self.metric} is measured at the end alone", _WHERE, do)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.metric.startswith("val/"):  # what an earlier validation has left is no measurement
            for key in self._keys(trainer):
                del trainer.callback_metrics[key]

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._should_skip_check(trainer):
            return
        keys = self._keys(trainer)
        if not keys:
            return None if self.seen else self._check_known(trainer)
        if keys[0] != self.metric and not self.seen:
            more = f" (and not by {', '.join(keys[1:4])})" if keys[1:] else ""
            chosen(f"{_WHERE}={self.metric}: early stopping by {keys[0]}{more}")
        self.seen, self.monitor = True, keys[0]
        self._run_early_stopping_check(trainer)
        if self.stopping_reason_message is not None and trainer.should_stop:
            best = float(self.best_score)
            by = f" by {abs(self.min_delta):g}" if self.min_delta else ""
            why = f"{keys[0]} has not got better than {best:.4g}{by} in {self.wait_count} measurements"
            self.ended = {"step": trainer.global_step, "metric": keys[0], "best": best, "why": why}

        for callback in cast("list[Any]", trainer.callbacks):  # type: ignore[attr-defined]
            if isinstance(callback, Checkpoint):
                callback.again(trainer, pl_module)

    def _keys(self, trainer: Trainer) -> list[str]:
        known = cast("dict[str, Any]", trainer.callback_metrics)
        return (
            [self.metric] if self.metric in known else sorted(k for k in known if k.startswith(self.metric))
        )

    def _check_known(self, trainer: Trainer) -> None:
        """Raise ConfigError where everything has been measured, and the metric is not there."""
        known = [str(key) for key in trainer.callback_metrics]
        if all(key in _ALWAYS or not key.startswith("val/") for key in known):
            return
        near = difflib.get_close_matches(self.metric, known, n=3, cutoff=0.4) or sorted(known)[:8]
        raise ConfigError(f"nothing measures {self.metric}", _WHERE, f"there are {', '.join(near)}")

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        if self.ended is not None:
            say(f"early stopping at step {self.ended['step']}: {self.ended['why']}")
        elif not self.seen:
            warn(f"early stopping has done nothing: {self.metric} was not measured before the end")


def _meant(metric: str) -> str | None:
    """Return the metric that was probably meant by a name that none of ours has, None for any other."""
    if any(metric == key or metric.startswith(f"{key}_") or key.startswith(metric) for key in _KNOWN):
        return None
    if f"val/{metric}" in _KNOWN:
        return f"val/{metric}"
    return next(iter(difflib.get_close_matches(metric, _KNOWN, n=1, cutoff=0.75)), None)
