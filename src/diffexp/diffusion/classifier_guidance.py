"""Classifier guidance: ε̂ − s σ ∇ log p(y | x_t), by a classifier of noisy images. Dhariwal & Nichol 2021,
algorithm 2; so x̂0 + s (σ²/α) ∇ log p(y | x_t).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from diffexp.condition import Condition
from diffexp.diffusion.denoiser import Denoise, Prediction
from diffexp.diffusion.guidance import Guidable, Guidance, Need
from diffexp.diffusion.schedule import Schedule, like
from diffexp.errors import ConfigError

Classify = Callable[[Tensor, Tensor], Tensor]
"""(x_t, t float32 (B,)) -> logits."""


@dataclass(frozen=True)
class ClassifierGuidance(Guidance):
    """scale: 1 + s, so that 1 is off as elsewhere, and s the paper's; interval, ramp: as of ClassifierFree.

    ckpt: the run of task=classifier.
    """

    ckpt: str | None = None

    def needs(self) -> Mapping[str, Need]:
        return {"classifier": Need("classifier", self.ckpt)}

    def calls(self, t: Tensor, schedule: Schedule) -> Tensor:
        """Return one of the model at each t; the classifier's are not counted."""
        return torch.ones_like(t, dtype=torch.int64)

    def check(self, model: Guidable) -> None:
        if self.scale != 1 and "classifier" not in model.helpers:
            what = "classifier guidance needs a classifier of noisy images"
            do = "train one with task=classifier, and use it in task=sample or task=evaluate"
            raise ConfigError(what, "guidance.ckpt", do)

    def wrap(self, model: Guidable) -> Denoise:
        if "classifier" not in model.helpers:
            return model.denoiser
        return ClassifierGuided(model.denoiser, model.denoiser.schedule, self, model.helpers["classifier"])


class ClassifierGuided:
    """`denoise` of a class, towards what the classifier takes for it. t: 0-dim or (B, 1, 1, 1)."""

    def __init__(
        self, denoise: Denoise, schedule: Schedule, guidance: ClassifierGuidance, classify: Classify
    ) -> None:
        self.denoise, self.schedule, self.guidance, self.classify = denoise, schedule, guidance, classify

    def __call__(self, x: Tensor, t: Tensor, cond: Condition | None = None) -> Prediction:
        p = self.denoise(x, t, cond)
        s = self.guidance.weight(t, self.schedule) - 1
        # without signal no class is to be seen, and x0 is beyond the reach of a gradient
        s = torch.where(self.schedule(t).ratio < 200, s, 0.0)
        if cond is None or cond.label is None or not bool((s != 0).any()):
            return p
        level = self.schedule(t)
        strength = like(s * level.sigma**2 / level.alpha, x)
        return Prediction(p.x0 + strength * self._gradient(x, t, cond.label), x, level, p.frac)

    def _gradient(self, x: Tensor, t: Tensor, label: Tensor) -> Tensor:
        """∇ log p(label | x_t), of the shape of x."""
        times = t.reshape(-1).expand(len(x)).to(x.device, torch.float32)
        with torch.enable_grad():
            at = x.detach().requires_grad_()
            chosen = self.classify(at, times).float().log_softmax(1).gather(1, label[:, None]).sum()
            return torch.autograd.grad(chosen, at)[0]
