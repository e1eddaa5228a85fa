"""task=classifier: train a classifier of the noisy images of a run (networks/noisy_classifier.py), for
guidance=classifier."""

import time
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffexp.config.build import OURS, build
from diffexp.errors import ConfigError
from diffexp.model.checkpoint import write
from diffexp.model.restore import Restored
from diffexp.networks.noisy_classifier import NoisyClassifier
from diffexp.progress import counting
from diffexp.randomness import generator
from diffexp.run.console import near, say
from diffexp.run.folder import Record
from diffexp.run.job import Job, Task, device_of
from diffexp.run.ready import ready
from diffexp.training.budget import Budget, Cost, budget_of
from diffexp.training.flops import flops
from diffexp.training.lr import LearningRate


@dataclass(frozen=True)
class Classifier(Task):
    """ckpt: the run whose schedule and data it is for; steps, batch_size, lr: of AdamW with a cosine to 0;
    channels, channel_mult: of the network. trainer.max_time and max_flops end it before the last step.
    """

    ckpt: str | None = None
    steps: int = 1000
    batch_size: int = 128
    lr: float = 1e-3
    channels: int = 32
    channel_mult: tuple[int, ...] = (1, 2)

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch_size < 1 or self.lr <= 0:
            what = f"steps={self.steps}, batch_size={self.batch_size}, lr={self.lr}"
            raise ConfigError(what, "task", "give positive numbers")

    def check(self, job: Job) -> None:
        device_of(job)
        budget_of(job.config["trainer"])
        restored, data = self._ready(job)
        data.check()
        self._network(restored)

    def _ready(self, job: Job) -> tuple[Restored, Any]:
        restored, nodes = ready(job, self.ckpt)
        if restored.class_names is None:
            do = "train on data with labels"
            raise ConfigError("the data of this run has no classes", "task.ckpt", do)
        return restored, build(nodes["data"], "data", job.allowed)

    def _node(self, restored: Restored) -> dict[str, Any]:
        shape = restored.model.latent_shape
        return {
            "_target_": "diffexp.networks.noisy_classifier.NoisyClassifier",
            "image_size": shape[1] if shape[1] == shape[2] else list(shape[1:]),
            "in_channels": shape[0],
            "num_classes": len(restored.class_names or ()),
            "channels": self.channels,
            "channel_mult": list(self.channel_mult),
            "attention": [f"1/{2 ** (len(self.channel_mult) - 1)}"],  # the smallest maps
        }

    def _network(self, restored: Restored) -> NoisyClassifier:
        try:
            return build(self._node(restored), "task", OURS)
        except ConfigError as error:  # of the network, whose keys the task has
            raise ConfigError(error.what, error.where.replace("network.", "task."), error.do) from error

    def run(self, job: Job, record: Record) -> None:
        (restored, data), device, seed = self._ready(job), device_of(job), job.config["seed"]
        torch.manual_seed(seed)
        network = self._network(restored).to(device)
        budget = budget_of(job.config["trainer"])
        cost = self._train(network, restored, data.split("train"), device, seed, budget)
        if budget:
            say(cost.words())
            record.results["budget"] = cost.row()
        accuracy = self._accuracy(network.eval(), restored, data, device, seed)
        path = job.folder / "checkpoints" / "last.ckpt"
        description = {"format": 1, "kind": "classifier", "network": self._node(restored), "step": cost.steps}
        write(path, {"diffexp": description, "state_dict": network.state_dict(), "global_step": cost.steps})
        record.results |= accuracy
        say(
            "accuracy on the test split, by quarter of t: " + ", ".join(f"{v:.3f}" for v in accuracy.values())
        )
        say(f"to use it: guidance=classifier guidance.scale=2 guidance.ckpt={near(job.folder)}")

    def _train(
        self, network: nn.Module, restored: Restored, images: Any, device: Any, seed: int, budget: Budget
    ) -> Cost:
        optimizer = torch.optim.AdamW(network.parameters(), self.lr, weight_decay=0.05)
        rate, used = LearningRate(self.steps, shape="cosine"), 0.0
        schedule: Any = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.steps)
        if budget:  # the same curve, of other roundings
            schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate(step, used))
        begun, each, spent, done = time.perf_counter(), 0, (0.0, 0), 0
        with counting("training the classifier") as progress:
            for step in range(self.steps):
                draw = generator(seed, "classifier", step)
                batch = images.batch(torch.randint(len(images), (self.batch_size,), generator=draw))
                t = torch.rand(self.batch_size, generator=draw, dtype=torch.float64)
                x, label = _noisy(restored, batch, t, draw, device)
                times = t.to(device, torch.float32)
                if budget and not step:
                    each = flops(network, lambda net, x=x[:1], t=times[:1]: net(x, t))
                loss = F.cross_entropy(network(x, times), label)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                nn.utils.clip_grad_norm_(network.parameters(), 1.0)
                optimizer.step()
                done = step + 1
                spent = (time.perf_counter() - begun, done * self.batch_size * each)
                used = budget.used(*spent)
                schedule.step()
                progress(done, self.steps if used * self.steps <= done else max(done, round(done / used)))
                if used >= 1:
                    break
        ended = budget.ended_by(*spent) or "task.steps"
        return Cost(ended, done, spent[0], done * self.batch_size, spent[1])

    @torch.no_grad()
    def _accuracy(
        self, network: nn.Module, restored: Restored, data: Any, device: Any, seed: int
    ) -> dict[str, float]:
        right, count = torch.zeros(4), torch.zeros(4)
        for i, batch in enumerate(data.batches("test", self.batch_size)):
            for quarter in range(4):
                draw = generator(seed, "classifier test", i, quarter)
                t = (quarter + torch.rand(len(batch.image), generator=draw, dtype=torch.float64)) / 4
                x, label = _noisy(restored, batch, t, draw, device)
                right[quarter] += (network(x, t.to(device, torch.float32)).argmax(1) == label).sum().cpu()
                count[quarter] += len(label)
        return {f"accuracy_q{q + 1}": float(right[q] / count[q]) for q in range(4)}


def _noisy(
    restored: Restored, batch: Any, t: Tensor, draw: torch.Generator, device: Any
) -> tuple[Tensor, Tensor]:
    level = restored.model.denoiser.schedule(t.clamp(min=1e-6).view(-1, 1, 1, 1))
    x0 = restored.model.codec.encode(batch.image)
    x = level.alpha.float() * x0 + level.sigma.float() * torch.randn(x0.shape, generator=draw)
    return x.to(device), batch.label.to(device)
