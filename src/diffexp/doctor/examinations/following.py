"""A class or caption that makes no difference: because it says nothing of its image, or was not learnt."""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor

from diffexp.data import DataSet
from diffexp.doctor.finding import Finding, strength
from diffexp.doctor.levels import another, errors, shown, z_of
from diffexp.doctor.patient import Patient
from diffexp.doctor.samples import shown_as
from diffexp.metrics import Extractor, extract

USED = 0.02
"""Of the error: the condition of another image adds tens of percents where the network uses it, and
nothing where it does not.
"""
MOVED, FALLS, SWAPPED = 0.15, 0.1, 100
"""Of the mean distance of samples, by which those of the same noise move when asked for something else: the
whole of it where the network follows, nearly nothing where it does not. Of what a judge finds right, by which
it falls then. Samples that are drawn for it.
"""
WORDS, RELATED, TIMES, MOST_IMAGES = 40, 6.0, 60, 1000
"""Frequent words that are looked at; standard deviations above chance from which images of like words are
alike; how often they are dealt anew for that; training images.
"""


def examine(patient: Patient) -> list[Finding]:
    """Compare the error with the right condition and with that of another image, of training images; and
    samples with those of the same noise that are asked for something else.
    """
    if not patient.model.conditioning.asks:
        return []
    images = shown(patient, "train")
    if bool((another(images.asked) == torch.arange(len(images.asked))).all()):
        return []  # all are asked for the same
    own, others = (errors(patient, images, told) for told in ("own", "others"))
    more = (others - own) / own.mean(1, keepdim=True)
    used = float(more.mean())
    assert patient.metrics.extractor is not None
    z = related(patient.data, patient.metrics.extractor)
    what = "caption" if "text" in patient.model.conditioning.asks else "class"
    saw = f"the {what} of another image adds {used:.1%} to the error of the network; "
    saw += f"images of a like {what} are alike by {z:.1f} standard deviations of chance"
    size = strength(USED, max(used, USED / 5), z_of(more.mean(0)) < 3 or used < USED)
    swap = swapped(patient, what)
    learnt = z >= RELATED
    cause = f"the {what} was not learnt" if learnt else f"the {what} says nothing of its image"
    size = min(size, swap.strength) if learnt else swap.strength
    data = (text for text in patient.trained or () if text.split("=")[0].split(".")[0] == "data")
    task = ["task=data", *data]
    do = [task, patient.again("guidance.scale=4")] if patient.model.guidable else [task]
    return [Finding(cause, "condition", size, f"{saw}; {swap.saw}", do, None, swap.pictures)]


class Swap(NamedTuple):
    """strength: of the evidence that samples do not follow; saw: what was measured; pictures: of both."""

    strength: float
    saw: str
    pictures: Mapping[str, Image.Image]


def swapped(patient: Patient, what: str) -> Swap:
    """Draw samples of the same noise that are asked for what another one is asked for: how far they move, and
    how many fewer show what the first were asked for, where there is a judge of it.
    """
    wanted = patient.wanted[torch.arange(min(patient.n, SWAPPED))]
    order = another(wanted)
    first, second = patient.draw().images[: len(wanted)], patient.drawn_as(wanted[order])
    of = patient.metrics.extractor
    assert of is not None
    a, b = (extract(of, images).double().cpu() for images in (first, second))
    apart = float(torch.pdist(a).mean())
    moved = float((a - b).norm(dim=1).mean()) / max(apart, 1e-12)
    saw = f"samples of the same noise, with the {what} of another, are {moved:.2f} as far from each other as "
    saw += "samples are"
    size = strength(MOVED, max(moved, MOVED / 5))
    if (key := patient.alignment_key) is not None:
        right, wrong = (patient.measure(x, wanted.label, wanted.text)[key] for x in (first, second))
        saw += f", and {key} falls from {right:.3g} to {wrong:.3g}"
        size = max(size, strength(FALLS, max((right - wrong) / max(right, 1e-12), FALLS / 5)))
    drawn = {f"the right {what}": shown_as(first), "that of another": shown_as(second)}
    return Swap(size, saw, patient.pictures(drawn))


def related(data: DataSet, extractor: Extractor) -> float:
    """Return by how many standard deviations of chance training images of the same class, or with the same
    words, are alike in their features. About 0 where classes or captions have been mixed up.
    """
    images = data.split("train")
    index = torch.linspace(0, len(images) - 1, min(MOST_IMAGES, len(images))).long().unique()
    batch = images.batch(index)
    features = extract(extractor, batch.image).double().cpu()
    features = (features - features.mean(0)) / features.std(0).clamp(min=1e-6)
    groups = _groups(batch.label, batch.text)
    if groups.shape[1] == 0:
        return 0.0
    generator = torch.Generator().manual_seed(0)
    dealt = [_alike(groups[torch.randperm(len(groups), generator=generator)], features) for _ in range(TIMES)]
    chance = torch.tensor(dealt)
    return (_alike(groups, features) - float(chance.mean())) / max(float(chance.std()), 1e-12)


def _alike(groups: Tensor, features: Tensor) -> float:
    """Return the variance of features between groups, (N, G) of deviation 1 and mean 0."""
    return float((groups.T @ features).square().sum())


def _groups(label: Tensor | None, texts: list[str] | None) -> Tensor:
    """Return which image is in which group, float64 (N, G) of mean 0 and deviation 1."""
    if texts is not None:
        said = [set(text.casefold().split()) for text in texts]
        count = {word: sum(word in words for words in said) for word in set().union(*said)}
        frequent = [
            w for w, k in sorted(count.items(), key=lambda item: (-item[1], item[0])) if 1 < k < len(said)
        ]
        member = torch.tensor([[word in words for word in frequent[:WORDS]] for words in said]).double()
    elif label is not None:
        member = (label[:, None] == label.unique()).double()
    else:
        return torch.zeros(0, 0)
    member = member.view(len(member), -1)
    member = member[:, member.std(0) > 0]
    return (member - member.mean(0)) / member.std(0)
