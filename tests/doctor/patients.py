"""Patients that need no training: optimal denoisers of the digits, well, or made sick in one way."""

from functools import partial

import torch

from diffexp.codecs import Pixels
from diffexp.conditioning import ClassLabel
from diffexp.data import Digits, InMemory
from diffexp.diffusion import ClassifierFree, FixedSmall, Gaussian, Ideal, Static, V, cosine
from diffexp.doctor import Patient
from diffexp.doctor.pictured import Pictured
from diffexp.metrics import FID, MetricSet, SmallClassifier, SVMAccuracy
from diffexp.model.build import build_model
from diffexp.samplers import DDIM

DATA = Digits()
SCHEDULE = cosine()


def ideal(schedule=SCHEDULE, prediction=None, codec=None, conditioning=None, network=None, split="train"):
    """A model that knows the digits of a split by heart, or another network."""
    prediction, codec = prediction or V(), codec or Pixels()
    make = network or partial(
        Ideal,
        schedule=schedule,
        prediction=prediction,
        variance=FixedSmall(),
        data=DATA,
        codec=codec,
        split=split,
    )
    conditioning = conditioning or ClassLabel()
    parts = (make, schedule, prediction, FixedSmall(), conditioning, codec)
    return build_model(DATA.shape, DATA.classes, *parts).eval()


def gaussian(schedule=SCHEDULE):
    """A network that knows the mean and the deviation of a pixel, and nothing else."""
    return partial(Gaussian, schedule=schedule, prediction=V(), variance=FixedSmall(), mean=-0.4, std=0.75)


def patient(model=None, n=60, sampler=None, guidance=None, clip=None, data=DATA, config=None, **more):
    metrics = MetricSet(n, SmallClassifier(), [FID(cache=None, parts=5), SVMAccuracy()])
    metrics.prepare(data)
    return Patient(
        model or ideal(),
        sampler or DDIM(steps=8),
        guidance or ClassifierFree(),
        clip or Static(),
        data,
        metrics,
        config or {"name": "digits", "trainer": {"max_steps": 100}, "optimizer": {"lr": 0.1}},
        "RUN",
        **more,
    )


def pictured(images, labels=None, data=DATA):
    """A patient of images alone, uint8 (N, 1, 8, 8)."""
    metrics = MetricSet(len(images), SmallClassifier(), [FID(cache=None, parts=5), SVMAccuracy()])
    metrics.prepare(data)
    return Pictured(InMemory(images, labels), data, metrics, "FOLDER")


class Otherwise(torch.nn.Module):
    """A network that gives nonsense when it is told nothing, as one does that was never told nothing."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x, noise, cond=None):
        out = self.network(x, noise, cond)
        if cond is None:
            return out
        return torch.where((cond.label == 10).view(-1, 1, 1, 1), 3 * torch.ones_like(out), out)
