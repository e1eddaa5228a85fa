"""A network that has not learnt: its error at each noise level against the best linear denoiser, and what the
losses and gradients of the training say of the reason.
"""

import torch

from diffexp.config.build import build
from diffexp.config.catalogue import judge
from diffexp.doctor.finding import Finding, strength
from diffexp.doctor.history import History, history
from diffexp.doctor.levels import errors, linear_errors, ratios, shown
from diffexp.doctor.patient import Patient
from diffexp.errors import DiffexpError

LINEAR = 0.8
"""Of the error of the best linear denoiser, below which every run that draws well has come, averaged over
the levels.
"""
COVERED = 0.02
"""Of the training's draws of times, in an eighth of the levels: below it hardly anything is learnt there."""
FALLING = 0.05
"""By how much of the loss the last quarter of the training is below the one before it, where it is not
finished.
"""
ROUGH = 0.15
"""Of the loss, the middle jump between two logged means: of a learning rate that is too high."""

LEAP = 3.0
"""Times the loss before it: a logged mean that leaps so far says the same; in a healthy run it is a tenth
above it.
"""


def examine(patient: Patient) -> list[Finding]:
    """Measure the error by level, and read metrics.jsonl."""
    ratio = by_level(patient)
    levels, share = ratios(patient.model.denoiser.schedule), coverage(patient)
    head = ["noise σ/α", "error / linear", "share of the training's times"]
    rows = [
        [float(r), float(e), None if share is None else float(s)]
        for r, e, s in zip(levels, ratio, share if share is not None else ratio, strict=True)
    ]
    mean, told = float(ratio.mean()), history(patient.run)
    size = strength(mean, LINEAR)
    saw = f"the network's error is {mean:.2f} of the best linear denoiser's "
    saw += f"({float(ratio.min()):.2f} to {float(ratio.max()):.2f} by noise level)"
    cause, do = _cause(patient, ratio, share, told)
    if told is not None:
        saw += f"; {told.words()}"
    return [Finding(cause, "blur", size, saw, do, (head, rows))]


def by_level(patient: Patient) -> torch.Tensor:
    """Return the error on training images over that of the best linear denoiser, float64 (LEVELS,)."""
    images = shown(patient, "train")
    return (errors(patient, images) / linear_errors(patient, images).mean(1, keepdim=True)).mean(1)


def _cause(
    patient: Patient, ratio: torch.Tensor, share: torch.Tensor | None, told: History | None
) -> tuple[str, list[list[str]]]:
    """Return why a network errs, and what mends it."""
    config = patient.config
    rate = (config.get("optimizer") or {}).get("lr")
    steps = (config.get("trainer") or {}).get("max_steps")
    wild = told is not None and (told.rough > ROUGH or told.leap > LEAP)
    if wild and isinstance(rate, (int, float)):
        return "a learning rate that is too high", [patient.train("slower", f"optimizer.lr={rate / 10:.2g}")]
    if (
        share is not None
        and bool(((share < COVERED) & (ratio > LINEAR)).any())
        and bool((ratio < LINEAR).any())
    ):
        return "noise levels that the training leaves out", [patient.train("times", "times=uniform")]
    if isinstance(steps, int):
        more = [patient.train("longer", f"trainer.max_steps={4 * steps}")]
        return (
            "a training that is not finished"
            if told is None or told.falling > FALLING
            else "a network that has not learnt"
        ), more
    return "a network that has not learnt", []


def coverage(patient: Patient) -> torch.Tensor | None:
    """Return the share of the training's times in each level's part of the noise; None where it is not
    known.
    """
    node = patient.config.get("times")
    if not isinstance(node, dict) or judge(node, "times", ()):  # a checkpoint may be a stranger's
        return None
    try:
        times = build(node, "times")
        t = times(20_000, patient.model.denoiser.schedule, torch.Generator().manual_seed(0))
    except (DiffexpError, TypeError):  # an older option
        return None
    at = patient.model.denoiser.schedule(t).ratio.clamp(1e-9, 1e9).log()
    centres = ratios(patient.model.denoiser.schedule).log()
    edges = (centres[1:] + centres[:-1]) / 2
    return torch.bucketize(at, edges).bincount(minlength=len(centres)).double() / len(t)
