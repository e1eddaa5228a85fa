"""No clipping where the network cannot know x̂0: images are drawn with it."""

from diffexp.diffusion.clip import NoClip, Static
from diffexp.doctor.finding import Finding, strength
from diffexp.doctor.patient import Patient
from diffexp.errors import DivergedError


def examine(patient: Patient) -> list[Finding]:
    """Compare FID with that of x̂0 clipped to the range of the data; of pixels, for latents have no range."""
    if not patient.model.codec.pixels or not isinstance(patient.clip, NoClip):
        return []
    try:
        clipped = patient.draw(clip=Static())
    except DivergedError:
        return []
    gain, known = patient.gain(clipped)
    prediction = type(patient.model.denoiser.prediction).__name__.lower()
    alpha = float(patient.model.denoiser.schedule.angles[-1].cos())
    saw = f"FID is {patient.fid():.3g} without clipping, {patient.fid(clipped):.3g} with it; "
    saw += f"the network predicts {prediction}, and at the end of the schedule α is {alpha:.2g}"
    do = [patient.again("clip=static")]
    pictures = patient.pictures({"clip=none": patient.draw(), "clip=static": clipped})
    return [
        Finding(
            "no clipping, where little signal magnifies errors",
            "artefacts",
            strength(gain, 1, known),
            saw,
            do,
            None,
            pictures,
        )
    ]
