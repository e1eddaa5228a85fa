"""A sampler of first order where one of second order makes as many calls of the network."""

from diffexp.doctor.finding import Finding, strength
from diffexp.doctor.patient import Patient
from diffexp.errors import ConfigError
from diffexp.samplers import DPMSolverPP, GridSampler, with_calls


def examine(patient: Patient) -> list[Finding]:
    """Compare FID with that of DPM-Solver++(2M), evenly in the logarithm of the noise, at as many calls."""
    sampler, schedule = patient.sampler, patient.model.denoiser.schedule
    if not isinstance(sampler, GridSampler):
        return []
    calls = len(sampler.calls(schedule))
    try:
        second = with_calls(DPMSolverPP(spacing="logsnr"), calls, schedule)
        other = patient.draw(sampler=second)
    except ConfigError:
        return []
    assert isinstance(second, GridSampler)
    gain, known = patient.gain(other)
    name = type(sampler).__name__
    saw = f"at {calls} calls of the network FID is {patient.fid():.3g} by {name}, "
    saw += f"{patient.fid(other):.3g} by one of second order"
    do = [
        patient.again("sampler=dpm_solver_pp_2m", f"sampler.steps={second.steps}", "sampler.spacing=logsnr")
    ]
    return [Finding("a sampler of too low an order for its steps", "blur", strength(gain, 1, known), saw, do)]
