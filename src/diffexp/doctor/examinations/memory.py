"""A training set that was learnt by heart: copies among the samples, and the loss of training and other
images.
"""

import torch

from diffexp.doctor.finding import Finding, strength
from diffexp.doctor.levels import errors, linear_errors, shown
from diffexp.doctor.patient import Patient
from diffexp.errors import ConfigError
from diffexp.metrics import Copies, MetricSet

GAP = 0.3
"""Of the error on training images, that by which it is larger on others: a run that draws new images has a
few percents.
"""
CAUSE = "a training set learnt by heart"
COPIED = 0.05
"""Of the samples: one in twenty is seen on the first sheet."""


def examine(patient: Patient) -> list[Finding]:
    """Measure both, and draw samples beside their nearest training images."""
    train, val = shown(patient, "train"), shown(patient, "val")
    scale = linear_errors(patient, val).mean(1)
    inside, outside = ((errors(patient, s).mean(1) / scale).mean() for s in (train, val))
    gap = float(outside / inside) - 1
    saw, size = f"the error on validation images is {gap:+.1%} of that on training images", strength(gap, GAP)
    do = [patient.again("evaluator.reference=test"), *_sooner(patient)]
    metrics = MetricSet(patient.n, patient.metrics.extractor, [Copies()])
    try:
        metrics.prepare(patient.data, patient.device)
    except ConfigError as error:  # too few images
        return [Finding(CAUSE, "collapse", size, f"{saw}; {error.what}", do)]
    metrics.update(patient.draw().images, index=torch.arange(patient.n))
    values = {key.rpartition("_")[0]: value for key, value in metrics.compute().items()}
    saw += f"; {values['copies']:.1%} of samples are copies, AuthPct {values['authpct']:.1%}"
    saw += f", C_T {values['c_t']:+.1f}; FID to training images {values['fid_train']:.3g}"
    saw += f", to test images {values['fid_test']:.3g}"
    size = max(size, strength(values["copies"], COPIED))
    return [Finding(CAUSE, "collapse", size, saw, do, None, metrics.pictures)]


def _sooner(patient: Patient) -> list[list[str]]:
    """Return the training that stops while the loss of validation images still falls."""
    steps = (patient.config.get("trainer") or {}).get("max_steps")
    if not isinstance(steps, int):
        return []
    return [patient.train("sooner", f"trainer.max_steps={max(1, steps // 4)}", "optimizer.weight_decay=0.1")]
