"""Too few steps: the same noise with twice as many."""

from dataclasses import replace

from diffexp.doctor.finding import Finding, strength
from diffexp.doctor.patient import Patient
from diffexp.errors import ConfigError
from diffexp.samplers import GridSampler

FEW = 10
"""Steps below which more are tried than twice as many, for twice few is few."""


def examine(patient: Patient) -> list[Finding]:
    """Compare FID with that of twice the steps."""
    sampler = patient.sampler
    if not isinstance(sampler, GridSampler) or not isinstance(sampler.spacing, str) or sampler.sections:
        return []
    most = patient.model.denoiser.schedule.T
    steps = min(most, 2 * sampler.steps if sampler.steps >= FEW else max(2 * sampler.steps, 2 * FEW))
    if steps <= sampler.steps:
        return []
    try:
        more = patient.draw(sampler=replace(sampler, steps=steps))
    except ConfigError:  # a spacing that has no such number of steps
        return []
    gain, known = patient.gain(more)
    saw = f"FID is {patient.fid():.3g} with {sampler.steps} steps, {patient.fid(more):.3g} with {steps}"
    do = [patient.again(f"sampler.steps={steps}")]
    pictures = {f"{sampler.steps} steps": patient.draw(), f"{steps} steps": more}
    return [
        Finding(
            "too few steps of the sampler",
            "blur",
            strength(gain, 1, known),
            saw,
            do,
            None,
            patient.pictures(pictures),
        )
    ]
