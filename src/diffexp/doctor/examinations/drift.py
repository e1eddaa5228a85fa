"""Images that are not of the data: farther from all training images than test images are."""

import torch
from torch import Tensor

from diffexp.data.dataset import SplitName
from diffexp.doctor.finding import Finding, strength
from diffexp.doctor.pictured import Pictured
from diffexp.doctor.samples import Samples
from diffexp.metrics import extract
from diffexp.metrics.copies import nearest

NEAR = 0.95
"""Of the test images, which are this near to some training image: what is farther is called far."""
FAR = 0.5
"""Of the samples: of real images a twentieth is far; where half are, most of a sheet is strange."""
MOST = 2000  # training images, and test images


def examine(patient: Pictured) -> list[Finding]:
    """Compare the distances of images to their nearest training image with those of test images. Of images
    alone: of a run, the other examinations say why.
    """
    share = far(patient, features(patient, patient.draw().images))
    saw = f"{share:.0%} of the images are far from all training images, as {1 - NEAR:.0%} of test images "
    saw += f"are; FID is {patient.fid():.3g}, its floor {patient.floor:.3g}"
    do, size = [["task=doctor", "task.ckpt=RUN"], patient.again()], strength(share, FAR)
    cause, shown = "images that are not like the data", patient.beside_real()
    return [Finding(cause, "collapse", size, saw, do, None, shown)]


def features(patient: Samples, images: Tensor) -> Tensor:
    """Return the features of images, float64 (N, dim)."""
    assert patient.metrics.extractor is not None
    return extract(patient.metrics.extractor, images).double().cpu()


def far(patient: Samples, of: Tensor) -> float:
    """Return the share of features (N, dim) that are farther from the nearest training image than 95 % of
    the test images are.
    """
    train = patient.once("features train", lambda: _some(patient, "train"))
    test = patient.once("features test", lambda: _some(patient, "test"))
    bound = nearest(test, train)[0][:, 0].quantile(NEAR)
    return float((nearest(of, train)[0][:, 0] > bound).double().mean())


def _some(patient: Samples, split: SplitName) -> Tensor:
    """Return the features of images of a split, evenly from all of it."""
    images = patient.data.split(split)
    index = torch.linspace(0, len(images) - 1, min(MOST, len(images))).long().unique()
    return features(patient, torch.cat([images.batch(part).image for part in index.split(250)]))
