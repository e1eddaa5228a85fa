"""Samples that are too much alike, beside as many real images: how many different images they come to.

    score = exp(−Σ λ_i ln λ_i),   λ the eigenvalues of K/n,   K_ij = exp(−d_ij²/2s²)

The Vendi score (Friedman and Dieng 2023) of features, d their distances, s half the median distance of
real images: of any number of copies of k images that are far apart it is k.
"""

import torch
from torch import Tensor

from diffexp.doctor.examinations.drift import FAR, far, features
from diffexp.doctor.examinations.learning import LINEAR, by_level
from diffexp.doctor.finding import Finding, strength
from diffexp.doctor.patient import Patient, with_scale
from diffexp.doctor.samples import Samples, shown_as
from diffexp.metrics import Evaluation

LESS = 2.0
"""Times as many different images among real ones, from which samples have collapsed: one of ten digits alone
has a third of them or less, a run that draws well nine tenths.
"""
NEAR, CERTAIN = 0.2, 10.0
"""The share of strange samples below which they are of the data, whatever the network errs; times as many
different images as only a collapse leaves away.
"""
WIDTH = 0.5
MOST, FEWEST = 400, 10  # images that are compared, of each kind


def examine(patient: Samples) -> list[Finding]:
    """Compare the score of samples with that of test images; where they are guided the larger one of with
    and without, for guidance itself makes them alike. Samples far from all data, and those of a network that
    has not learnt, say nothing of it.
    """
    images = patient.data.split("test")
    n = min(len(images), patient.n, MOST)
    if n < FEWEST:
        return []
    index = torch.linspace(0, len(images) - 1, n).long()
    test = images.batch(index).image
    real = features(patient, test)
    width = WIDTH * float(torch.pdist(real).median())
    if width == 0:
        return []
    drawn, own = _least_guided(patient), vendi(real, width)
    kept = {name: features(patient, _evenly(e.images, n)) for name, e in drawn.items()}
    scores = {name: vendi(of, width) for name, of in kept.items()}
    best = max(scores, key=lambda name: scores[name])
    strange = far(patient, kept[best])
    saw = f"{n} samples come to {scores['']:.3g} different images, {n} real ones to {own:.3g}"
    saw += f"; without guidance to {scores['1']:.3g}" if "1" in scores else ""
    saw += f"; {strange:.0%} are far from all training images"
    ratio = own / scores[best]
    sound = strange < NEAR or (_learnt(patient) and (strange < FAR or ratio > CERTAIN))
    size = strength(ratio, LESS, sound)
    pictures = patient.pictures({"samples": drawn[best], "real images": shown_as(test)})
    return [Finding("samples that have collapsed", "collapse", size, saw, _do(patient), None, pictures)]


def vendi(features: Tensor, width: float) -> float:
    """Return the number of different ones among features (N, dim), 1 to N, by a Gaussian of this width."""
    kernel = torch.exp(-torch.cdist(features, features).square() / (2 * width**2)) / len(features)
    values = torch.linalg.eigvalsh(kernel).clamp(min=1e-12)
    return float(torch.exp(-(values * values.log()).sum()))


def _least_guided(patient: Samples) -> dict[str, Evaluation]:
    """Return samples as they are asked for, and without guidance, where they are guided."""
    drawn = {"": patient.draw()}
    if isinstance(patient, Patient) and patient.model.guidable and patient.guidance.scale != 1:
        drawn["1"] = patient.draw(guidance=with_scale(patient.guidance, 1.0))
    return drawn


def _learnt(patient: Samples) -> bool:
    """Return whether a network is better than a linear one; what it draws else has nothing to differ by."""
    return not isinstance(patient, Patient) or float(by_level(patient).mean()) < LINEAR


def _evenly(images: Tensor, n: int) -> Tensor:
    return images[torch.linspace(0, len(images) - 1, n).long()]


def _do(patient: Samples) -> list[list[str]]:
    """Return what says more of it, and a training that is shorter."""
    small = tuple(patient.data.shape[1:]) == (8, 8)
    return [patient.again(f"metrics={'digits_all' if small else 'inception_all'}"), *patient.sooner()]
