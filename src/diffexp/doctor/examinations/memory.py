"""A training set that was learnt by heart: copies among the samples, and the loss of training and other
images.
"""

import torch

from diffexp.doctor.finding import Finding, strength
from diffexp.doctor.levels import errors, linear_errors, shown
from diffexp.doctor.patient import Patient
from diffexp.doctor.samples import Samples
from diffexp.errors import ConfigError
from diffexp.metrics import Copies, MetricSet

GAP = 0.3
"""Of the error on training images, that by which it is larger on others: a run that draws new images has a
few percents.
"""
CAUSE = "a training set learnt by heart"
COPIED = 0.05
"""Of the samples: one in twenty is seen on the first sheet."""


def examine(patient: Samples) -> list[Finding]:
    """Measure both, of a folder the copies alone; and draw samples beside their nearest training images."""
    saw, size = list[str](), 0.0
    if isinstance(patient, Patient):
        gap = _gap(patient)
        saw.append(f"the error on validation images is {gap:+.1%} of that on training images")
        size = strength(gap, GAP)
    do = [patient.again("evaluator.reference=test"), *patient.sooner("optimizer.weight_decay=0.1")]
    metrics = MetricSet(patient.n, patient.metrics.extractor, [Copies()])
    try:
        metrics.prepare(patient.data, patient.device)
    except ConfigError as error:  # too few images
        return [Finding(CAUSE, "collapse", size, "; ".join([*saw, error.what]), do)]
    metrics.update(patient.draw().images, index=torch.arange(patient.n))
    values = {key.rpartition("_")[0]: value for key, value in metrics.compute().items()}
    saw.append(f"{values['copies']:.1%} of samples are copies, AuthPct {values['authpct']:.1%}, ")
    saw[-1] += f"C_T {values['c_t']:+.1f}; FID to training images {values['fid_train']:.3g}"
    saw[-1] += f", to test images {values['fid_test']:.3g}"
    size = max(size, strength(values["copies"], COPIED))
    return [Finding(CAUSE, "collapse", size, "; ".join(saw), do, None, metrics.pictures)]


def _gap(patient: Patient) -> float:
    """Return by how much of the error on training images that on validation images is larger."""
    train, val = shown(patient, "train"), shown(patient, "val")
    scale = linear_errors(patient, val).mean(1)
    inside, outside = ((errors(patient, s).mean(1) / scale).mean() for s in (train, val))
    return float(outside / inside) - 1
