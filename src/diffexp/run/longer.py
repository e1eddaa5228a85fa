"""The change of the learning rate where a run goes on with another number of steps."""

import math
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from diffexp.training.budget import Budget, budget_before
from diffexp.training.lr import LearningRate
from diffexp.training.spending import SPENT


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
        trained = checkpoint["diffexp"]["config"]
        trainers = [trained["trainer"], config["trainer"]]
        steps, budgets = [node["max_steps"] for node in trainers], [budget_before(n) for n in trainers]
        now = float(schedule["base_lrs"][0]) * lr(schedule["last_epoch"], _used(checkpoint, budgets[1]))
        # by the clock it never falls twice in the same way
        if math.isclose(before, now, rel_tol=1e-9) or (budgets[0] and trainers[0] == trainers[1]):
            return None
        rates = {"at": checkpoint["global_step"], "steps": steps, "rate": [before, now]}
        return rates | {"lr_steps": trained["lr"]["steps"]}
    return None


def _used(checkpoint: Mapping[str, Any], budget: Budget | None) -> float:
    spent = checkpoint.get(SPENT, {})
    return budget.used(spent.get("seconds", 0.0), spent.get("flops", 0)) if budget else 0.0


def words(change: Mapping[str, Any], lr: LearningRate) -> str:
    """Describe the change, with what to type instead."""
    (before, now), steps = change["rate"], change["lr_steps"]
    text = f"the learning rate at step {change['at']} goes from {before:.3g} to {now:.3g}"
    if lr.shape == "constant":
        return text
    if change["steps"][0] == change["steps"][1] and steps == lr.steps:
        return f"{text}: it falls to its end with the budget"
    kept = f"it stays at {before:.3g}" if change["at"] >= steps else "it falls as before"
    kept += ", which trains nothing" if change["at"] >= steps and not before else ""
    return (
        f"{text}: it falls until step {lr.steps} now, and fell until step {steps} before\n"
        f"  if you want another, stop, and add lr.steps={steps} ({kept}), or lr=constant (at its peak)"
    )
