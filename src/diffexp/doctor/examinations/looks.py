"""What is seen in images alone: blur, noise and over-sharpening, burnt colours."""

from torch import Tensor

from diffexp.doctor.finding import Finding, strength
from diffexp.doctor.pictured import Pictured
from diffexp.doctor.signs import each_of

SOFT, SHARP = 0.6, 1.6
"""Energy in high frequencies, in times of that of real images: splits of one data set differ by a tenth."""
BURNT = 0.1
"""More of the values at an end of the range than in real images: a tenth is seen as flat black and white."""
CAUSES = (
    "blur: too few steps, a codec that loses too much, or a network that has not learnt",
    "noise or over-sharpening: no clipping, too few steps, or too much guidance",
    "too much guidance",
)


def examine(patient: Pictured) -> list[Finding]:
    """Compare the signs of images with those of as many training images."""
    made, real = each_of(patient.draw().images), each_of(patient.real)
    ratio = float(made.sharpness.mean() / real.sharpness.mean().clamp(min=1e-12))
    burnt = float(made.saturated.mean() - real.saturated.mean())
    fine = f"energy in high frequencies is {ratio:.2f} x that of real images"
    ends = f"{float(made.saturated.mean()):.1%} of the values are at an end of the range, "
    ends += f"{float(real.saturated.mean()):.1%} in real images"
    apart = _apart(made.sharpness, real.sharpness)
    sizes = (
        strength(SOFT, max(ratio, SOFT / 5), apart),
        strength(ratio, SHARP, apart),
        strength(burnt, BURNT, _apart(made.saturated, real.saturated)),
    )
    do = [["task=doctor", "task.ckpt=RUN"]]
    kinds = zip(CAUSES, ("blur", "artefacts", "artefacts"), sizes, (fine, fine, ends), strict=True)
    return [Finding(cause, kind, size, saw, do) for cause, kind, size, saw in kinds]


def _apart(a: Tensor, b: Tensor) -> bool:
    """Return whether the means of values (N,) and (M,) differ by more than chance."""
    error = (a.var() / len(a) + b.var() / len(b)).sqrt()
    return bool((a.mean() - b.mean()).abs() > 3 * error)
