"""The change of the learning rate where a run goes on with another number of steps."""

import math
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from diffexp.training.lr import LearningRate


def rate_change(
    checkpoint: Mapping[str, Any], config: Mapping[str, Any], lr: LearningRate
) -> dict[str, Any] | None:
    """Return {"at": step, "steps": [before, now], "rate": [before, now]} of the next step, and
    "lr_steps", before; None where the rate is the same.

    config: of the run that goes on; lr: its factor. A damaged checkpoint is None too: others report it.
    """
    with suppress(KeyError, IndexError, TypeError, ValueError, AttributeError):
        schedule = checkpoint["lr_schedulers"][0]
        before = float(checkpoint["optimizer_states"][0]["param_groups"][0]["lr"])
        now = float(schedule["base_lrs"][0]) * lr(schedule["last_epoch"])
        if math.isclose(before, now, rel_tol=1e-9):
            return None
        trained = checkpoint["diffexp"]["config"]
        steps = [trained["trainer"]["max_steps"], config["trainer"]["max_steps"]]
        rates = {"at": checkpoint["global_step"], "steps": steps, "rate": [before, now]}
        return rates | {"lr_steps": trained["lr"]["steps"]}
    return None


def words(change: Mapping[str, Any], lr: LearningRate) -> str:
    """Describe the change, with what to type instead."""
    (before, now), steps = change["rate"], change["lr_steps"]
    text = f"the learning rate at step {change['at']} goes from {before:.3g} to {now:.3g}"
    if lr.shape == "constant":
        return text
    kept = f"it stays at {before:.3g}" if change["at"] >= steps else "it falls as before"
    kept += ", which trains nothing" if change["at"] >= steps and not before else ""
    return (
        f"{text}: it falls until step {lr.steps} now, and fell until step {steps} before\n"
        f"  if you want another, stop, and add lr.steps={steps} ({kept}), or lr=constant (at its peak)"
    )
