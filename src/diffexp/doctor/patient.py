"""A run as a patient: a model, how it is sampled, and its data. It draws images from the same noise each
time, and compares what is measured of them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diffexp.comparison.difference import Difference
from diffexp.condition import Asked
from diffexp.config.suggest import override
from diffexp.data import DataSet
from diffexp.diffusion.clip import Clip
from diffexp.diffusion.guidance import Guidance
from diffexp.doctor.samples import Samples
from diffexp.errors import ConfigError
from diffexp.metrics import Evaluation, Evaluator, MetricSet
from diffexp.model.model import Model
from diffexp.progress import counting
from diffexp.samplers import Sampler, generate

CHANCE = 0.01  # the p-value of a difference, below which it is more than chance
_FOLDER = ("dir", "name", "resume", "task", "dry_run", "init")


@dataclass
class Patient(Samples):
    """model: as it is asked for; others: the same with other weights, by their names (raw weights, other
    averages); sampler, guidance, clip: as they are asked for; refused: why that guidance cannot be, which is
    then off; metrics: FID and judges of n images; config: of the training; run: its folder, None for a file
    alone; ckpt, typed: what was typed for this examination; trained: for the training.
    """

    model: Model
    sampler: Sampler
    guidance: Guidance
    clip: Clip
    data: DataSet
    metrics: MetricSet
    config: Mapping[str, Any]
    ckpt: str
    others: Mapping[str, Model] = field(default_factory=dict[str, Model])
    refused: ConfigError | None = None
    run: Path | None = None
    typed: Sequence[str] = ()
    trained: Sequence[str] | None = None
    seed: int = 0
    batch_size: int = 250
    device: Any = "cpu"
    _drawn: dict[str, Evaluation] = field(default_factory=dict[str, Evaluation], init=False)
    _kept: dict[str, Any] = field(default_factory=dict[str, Any], init=False)

    def draw(
        self,
        sampler: Sampler | None = None,
        guidance: Guidance | None = None,
        clip: Clip | None = None,
        weights: str | None = None,
    ) -> Evaluation:
        """Return n images and what is measured of them, with what is given in place of what is asked for;
        each kind is drawn once.
        """
        parts = (sampler or self.sampler, guidance or self.guidance, clip or self.clip)
        name = repr((*parts, weights))
        if name not in self._drawn:
            evaluator = self._evaluator(*parts)
            model = self.model if weights is None else self.others[weights]
            with counting("drawing images") as progress:
                self._drawn[name] = evaluator.run(model, device=self.device, progress=progress)
        return self._drawn[name]

    def _evaluator(self, sampler: Sampler, guidance: Guidance, clip: Clip) -> Evaluator:
        of = Evaluator(sampler, guidance, clip, self.metrics, self.seed, self.batch_size, pictures=self.n)
        of.data = self.data
        return of

    @property
    def wanted(self) -> Asked:
        """Return what the n images are asked for."""
        return self._evaluator(self.sampler, self.guidance, self.clip).wanted_of(self.model, self.n)

    def drawn_as(self, asked: Asked) -> Tensor:
        """Return the first images, of the same noise, asked for something else: uint8 (N, C, H, W)."""
        parts = list[Tensor]()
        for index in torch.arange(len(asked)).split(self.batch_size):
            more = (self.guidance, self.clip, self.seed, len(index), self.device)
            parts.append(generate(self.model, self.sampler, index, asked[index], *more))
        return torch.cat(parts)

    def gain(self, mended: Evaluation) -> tuple[float, bool]:
        """Return by how much FID falls from what is asked for to what is mended, over what counts as much: a
        fifth of it, and half of its floor, below which nobody would see it; and whether that is more than
        chance.
        """
        apart = self.difference(self.fid_key, self.draw(), mended)
        return apart.value / max(GAIN * self.fid(), self.floor / 2), separated(apart)

    def again(self, *more: str) -> list[str]:
        """Return the command line that measures this patient with something else."""
        return ["task=evaluate", override("task.ckpt", self.ckpt), *_without(self.typed, more), *more]

    def train(self, name: str, *more: str) -> list[str]:
        """Return the command line of the training with something else; of a file alone one of its options."""
        typed = self.trained
        if typed is None:
            choices = self.config.get("choices")
            groups = ("data", "network", "schedule", "prediction", "conditioning")
            known = choices if isinstance(choices, Mapping) else {}
            typed = [f"{group}={known[group]}" for group in groups if group in known]
        kept = [text for text in _without(typed, more) if _key(text).split(".")[0] not in _FOLDER]
        return [*kept, *more, f"name={self.config.get('name', 'run')}_{name}"]

    def sooner(self, *more: str) -> list[list[str]]:
        """Return the command line of a training of a quarter of the steps, with something else."""
        steps = (self.config.get("trainer") or {}).get("max_steps")
        if not isinstance(steps, int):
            return []
        return [self.train("sooner", f"trainer.max_steps={max(1, steps // 4)}", *more)]

    def about(self) -> dict[str, object]:
        """Return what is examined, for the head of a page."""
        rows: dict[str, object] = {
            "checkpoint": self.ckpt,
            "weights": self.model.weights,
            "sampler": repr(self.sampler),
            "guidance": repr(self.guidance),
            "clip": repr(self.clip),
            "data": self.data.name,
            "images": f"{self.n} of each experiment, from the same noise",
        }
        rows |= {} if self.refused is None else {"refused": self.refused.what}
        return rows


GAIN = 0.2  # of FID: differences of less are seen in tables, and not in pictures


def separated(apart: Difference) -> bool:
    """Return whether a difference is more than chance."""
    return apart.p is not None and apart.p < CHANCE


def with_scale(guidance: Guidance, scale: float) -> Guidance:
    """Return the same guidance at another scale."""
    return replace(guidance, scale=scale)


def _key(text: str) -> str:
    return text.lstrip("+~").partition("=")[0]


def _without(typed: Sequence[str], more: Sequence[str]) -> list[str]:
    """Return what was typed without what is typed otherwise in `more`: a group takes its values with it."""
    given = {_key(text) for text in more}
    return [text for text in typed if _key(text) not in given and _key(text).split(".")[0] not in given]
