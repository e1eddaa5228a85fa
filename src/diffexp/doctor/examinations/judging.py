"""Images that do not show the class or caption they were made for, by a judge of the metrics."""

from diffexp.doctor.finding import Finding, strength
from diffexp.doctor.pictured import Pictured

RIGHT = 0.2
"""Fewer images that are right than among real ones: one in five is seen on any sheet."""


def examine(patient: Pictured) -> list[Finding]:
    """Compare the share of images that are right with that of real ones, where what they show is known."""
    key = patient.alignment_key
    card = {} if key is None else patient.draw().cards[key]
    real = next((card[k] for k in ("accuracy_real_test", "right_real_test") if k in card), None)
    if key is None or real is None:
        return []
    share = patient.draw().values[key]
    saw = f"{share:.1%} of the images show what they were made for, as {real:.1%} of real ones do ({key})"
    do = [["task=doctor", "task.ckpt=RUN"], patient.again()]
    cause = "a class or text that is not followed: too little guidance, or not learnt"
    return [Finding(cause, "condition", strength(real - share, RIGHT), saw, do)]
