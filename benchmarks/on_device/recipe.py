"""A recipe for the minutes that are left: class-conditional EDM (Karras et al. 2022), at a learning rate that
has come down to 0 when the time is over, whatever number of steps that was.
"""

import math
import time
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal

import torch
from unet import Case

from diffexp.codecs import Pixels
from diffexp.conditioning import ClassLabel, Unconditional
from diffexp.diffusion import EDM, Chain, EDMWeight, FixedSmall, LogNormal, Objective, Sigmoid, V, cosine
from diffexp.networks import UNet

if TYPE_CHECKING:
    from diffexp.data import DataSet
    from diffexp.training import DiffusionModule


@dataclass(frozen=True)
class Recipe:
    """prediction: edm, with its weighting and times; or v, with the sigmoid weighting and uniform times. lr:
    the highest, after `warmup` steps of Adam; ema: the decay; conditional: told the class.
    """

    prediction: Literal["edm", "v"] = "edm"
    batch: int = 256
    lr: float = 6e-4
    warmup: int = 200
    ema: float = 0.999
    conditional: bool = True
    steps: int = 25


class ByClock:
    """The factor of the learning rate: a linear rise over `warmup` steps, and half a cosine over `seconds`,
    of which the first call is the beginning.
    """

    def __init__(self, seconds: float, warmup: int) -> None:
        self.seconds, self.warmup, self.begun = seconds, warmup, None

    def __call__(self, step: int) -> float:
        """Return the factor at `step`, from 0, now."""
        self.begun = time.perf_counter() if self.begun is None else self.begun
        share = min(1.0, (time.perf_counter() - self.begun) / self.seconds)
        return min(1.0, (step + 1) / self.warmup) * (1 + math.cos(math.pi * share)) / 2


def module(recipe: Recipe, data: "DataSet", case: Case, lr: ByClock, compiled: bool) -> "DiffusionModule":
    """Return what is trained: the network of the case, for the sizes and classes of the data."""
    from diffexp.training import EMA, DiffusionModule

    edm = recipe.prediction == "edm"
    torch.manual_seed(0)  # of the initial weights
    return DiffusionModule(
        data.shape,
        data.classes,
        partial(
            UNet,
            channels=case.channels,
            channel_mult=case.mult,
            blocks=case.blocks,
            attention=case.attention,
            groups=case.groups,
        ),
        cosine(),
        EDM() if edm else V(),
        FixedSmall(),
        Objective(EDMWeight(), LogNormal()) if edm else Objective(Sigmoid(), Chain()),
        ClassLabel(dropout=0.0) if recipe.conditional and data.classes else Unconditional(),
        Pixels(),
        lambda weights: torch.optim.Adam(weights, lr=recipe.lr, fused=True),
        lr,  # type: ignore[arg-type]
        EMA((recipe.ema,)),
        precision="bf16",
        compile=compiled,
    )


def lacking(random_features: bool) -> list[str]:
    """Return the packages that part 3 needs and that are not installed; random_features: in place of the
    Inception's.
    """
    wanted = {"lightning": "lightning", "rich": "rich", "numpy": "numpy", "PIL": "pillow"}
    if not random_features:
        wanted["torch_fidelity"] = "torch-fidelity"
    return [name for package, name in wanted.items() if find_spec(package) is None]
