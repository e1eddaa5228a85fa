"""A schedule other than that of the training: the network is given the times of other schedules, for the
same noise.
"""

from functools import partial

from diffexp.diffusion import cosine, flow, linear, scaled_linear, sigmoid, sigmoid_beta
from diffexp.diffusion.schedule import shifted
from diffexp.doctor.finding import Finding, strength
from diffexp.doctor.levels import errors, label_of, linear_errors, ratios, shown, z_of
from diffexp.doctor.patient import Patient

GAIN = 0.05
"""Of the error: the times of its own schedule fit a network best, those of others within a few percents at
most.
"""
NAMED = {
    "schedule=linear": linear,
    "schedule=cosine": cosine,
    "schedule=scaled_linear": scaled_linear,
    "schedule=sigmoid": sigmoid,
    "schedule=sigmoid_beta": sigmoid_beta,
    "schedule=flow": flow,
}
SHIFTS = (0.25, 0.5, 2.0, 4.0)
SAME = 0.01
"""Of the network's time: schedules that differ by less are one."""


def examine(patient: Patient) -> list[Finding]:
    """Find the schedule whose times give the least error at each noise level."""
    own = patient.model.denoiser.schedule
    others = {name: partial(of, own.T) for name, of in NAMED.items()}
    others |= {f"snr.shift={s:g}": partial(shifted, own, s) for s in SHIFTS}
    images, r = shown(patient, "train"), ratios(own)
    scale = linear_errors(patient, images).mean(1, keepdim=True)
    before = errors(patient, images) / scale
    at, rows = label_of(patient, own)(r), [["as configured", float(before.mean())]]
    best, least = "", before
    for name, make in others.items():
        label = label_of(patient, make())
        if float((label(r) - at).abs().max()) < SAME:
            continue
        after = errors(patient, images, label=label) / scale
        rows.append([name, float(after.mean())])
        best, least = (name, after) if after.mean() < least.mean() else (best, least)
    if len(rows) == 1:  # the network is told the noise itself, whatever the schedule
        return []
    gain = 1 - float(least.mean()) / float(before.mean())
    saw = f"the network's error is {float(before.mean()):.3g} of the best linear denoiser's "
    saw += "with the times of its schedule"
    saw += (
        f", {float(least.mean()):.3g} with those of {best}" if best else ", and more with those of any other"
    )
    do = [patient.train("schedule", best)] if best else []
    size = strength(gain, GAIN, z_of((before - least).mean(0)) > 3)
    return [
        Finding(
            "another schedule than that of the training",
            "artefacts",
            size,
            saw,
            do,
            (["times of", "error"], rows),
        )
    ]
