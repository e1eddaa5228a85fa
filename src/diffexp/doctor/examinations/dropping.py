"""A condition that was never dropped in training: guidance goes away from what the network does not know."""

from diffexp.doctor.finding import MOST, Finding, strength
from diffexp.doctor.levels import errors, shown, z_of
from diffexp.doctor.patient import Patient

THRESHOLD = 1.0
"""Of the error that nothing adds, over that which the condition of another image adds. A network that has
learnt the images without a condition errs less when told nothing than when told what is wrong.
"""


def examine(patient: Patient) -> list[Finding]:
    """Compare the errors of the network when told the condition, that of another image, and nothing."""
    model, asked = patient.model, patient.refused
    if not model.conditioning.asks or (patient.guidance.scale == 1 and asked is None):
        return []
    images = shown(patient, "val")
    own, others, nothing = (errors(patient, images, told) for told in ("own", "others", "nothing"))
    scale = own.mean(1, keepdim=True)
    wrong, null = ((more - own) / scale for more in (others, nothing))
    ratio = float(null.mean()) / max(float(wrong.mean()), 1e-9)
    known = z_of((null - wrong).mean(0)) > 3
    saw = f"told nothing the network errs {float(null.mean()):+.1%} more, "
    saw += f"told the condition of another image {float(wrong.mean()):+.1%}"
    size = strength(ratio, THRESHOLD, known)
    if asked is not None:
        saw = f"{asked.what}; {saw}"
        size = MOST
    do = [patient.train("dropout", "conditioning.dropout=0.1"), patient.again("guidance.scale=1")]
    return [
        Finding("a condition that was never dropped in training, and guidance", "artefacts", size, saw, do)
    ]
