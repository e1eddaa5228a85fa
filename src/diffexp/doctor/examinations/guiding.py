"""Guidance that is too high or too low: FID, what is followed, saturation and sharpness at several scales."""

from collections.abc import Sequence

from diffexp.doctor.finding import Finding, strength
from diffexp.doctor.patient import Patient, separated, with_scale
from diffexp.doctor.signs import Signs, signs_of
from diffexp.metrics import Evaluation

SCALES = (1.0, 2.0, 4.0)
FOLLOWED = 0.1
"""Of the share of images that show what was asked for: a tenth more is seen in a sheet of samples."""


def examine(patient: Patient) -> list[Finding]:
    """Draw at each scale, and compare with that which is asked for."""
    if not patient.model.guidable:
        return []
    asked = patient.guidance.scale
    drawn = {s: patient.draw(guidance=with_scale(patient.guidance, s)) for s in sorted({*SCALES, asked})}
    real = patient.real_signs
    rows = [_row(patient, scale, drawn[scale], signs_of(drawn[scale].images), real) for scale in drawn]
    head = ["guidance", "FID", "followed", "saturated", "sharpness", "of real images"]
    found = []
    lower = [scale for scale in drawn if scale < asked]
    if lower:
        best = min(lower, key=lambda scale: patient.fid(drawn[scale]))
        gain, known = patient.gain(drawn[best])
        saw = (
            f"FID is {patient.fid():.3g} at guidance {asked:g}, {patient.fid(drawn[best]):.3g} at {best:g}; "
        )
        saw += _signs(signs_of(patient.draw().images), real)
        do = [patient.again(f"guidance.scale={best:g}"), patient.again("clip=dynamic")]
        pictures = patient.pictures({f"guidance {s:g}": drawn[s] for s in drawn})
        found.append(
            Finding(
                "too much guidance", "artefacts", strength(gain, 1, known), saw, do, (head, rows), pictures
            )
        )
    return found + _too_low(patient, drawn)


def _too_low(patient: Patient, drawn: dict[float, Evaluation]) -> list[Finding]:
    asked, key = patient.guidance.scale, patient.alignment_key
    higher = [scale for scale in drawn if scale > asked]
    if key is None or not higher:
        return []
    best = max(higher, key=lambda scale: drawn[scale].values[key])
    more = patient.difference(key, drawn[best], patient.draw())
    saw = f"{key} is {patient.draw().values[key]:.3g} at guidance {asked:g}, "
    saw += f"{drawn[best].values[key]:.3g} at {best:g}"
    do = [patient.again(f"guidance.scale={best:g}")]
    size = strength(more.value, FOLLOWED, separated(more))
    pictures = patient.pictures({f"guidance {s:g}": drawn[s] for s in (asked, best)})
    return [Finding("too little guidance", "condition", size, saw, do, None, pictures)]


def _row(patient: Patient, scale: float, drawn: Evaluation, signs: Signs, real: Signs) -> Sequence[object]:
    key = patient.alignment_key
    followed = None if key is None else drawn.values[key]
    sharp = f"{signs.sharpness / real.sharpness:.2f} x" if real.sharpness else ""
    return [f"{scale:g}", patient.fid(drawn), followed, signs.saturated, signs.sharpness, sharp]


def _signs(signs: Signs, real: Signs) -> str:
    return (
        f"{signs.saturated:.1%} of the values are at an end of the range "
        f"({real.saturated:.1%} of real images), "
        f"energy in high frequencies {signs.sharpness / max(real.sharpness, 1e-12):.2f} x that of real images"
    )
