"""Part 3: train on the images for the seconds that are left, sample, and measure FID at feature 768."""

import time
import warnings
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from lightning import Trainer
from torch import Tensor, nn

from diffexp.data.dataset import DataSet
from diffexp.diffusion import ClassifierFree, Static
from diffexp.metrics import FID, Evaluator, Extractor, Inception, MetricSet, extract
from diffexp.model.ask import ask
from diffexp.model.model import Model
from diffexp.samplers import Adams, generate
from diffexp.training import DataModule, DiffusionModule
from diffexp.training.log_filters import quiet
from on_device.budget import Budget
from on_device.card import seconds
from on_device.form import Form
from on_device.recipe import ByClock, Recipe, module

SPARE = 1.3  # times what measuring is expected to take
END = 15  # seconds for the distances themselves, and their standard error
MEASURING = 0.35  # the most of the time that is left that measuring may take


class RandomFeatures(Extractor):
    """Sixteen random features, of the short form: they compare nothing that anybody sees."""

    name, dim, sha256 = "random16", 16, "0" * 64

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.conv = nn.Conv2d(3, 16, 4, 4)

    def check(self, shape: tuple[int, int, int]) -> None:
        """Take any images in colour."""

    def forward(self, images: Tensor) -> Tensor:
        """Map uint8 (B, 3, H, W) to float32 (B, 16)."""
        return self.conv(images.float() / 128 - 1).square().mean((2, 3))


def costs(model: Model, sampler: Adams, extractor: Extractor, chunk: int, device: str) -> tuple[float, float]:
    """Return the seconds of sampling an image, and of its features, after one batch of `chunk` to warm up."""
    index, made = torch.arange(chunk), list[Tensor]()
    asked = ask(model, chunk)

    def draw() -> None:
        made.append(generate(model, sampler, index, asked, batch_size=chunk, device=device))

    draw()
    extract(extractor, made[0])
    return seconds(draw, device) / chunk, seconds(lambda: extract(extractor, made[0]), device) / chunk


def images_for_fid(n: int, least: int, cost: tuple[float, float], real: int, left: float) -> int:
    """Return how many images are drawn: n, or half as often as measuring would take too much of what is left.

    cost: as `costs` has it; real: the images of the reference.
    """
    drawing, features = cost
    while n // 2 >= least and (drawing + 2 * features) * n + features * real > MEASURING * left:
        n //= 2
    return n


def train(
    data: DataSet, recipe: Recipe, learner: DiffusionModule, device: str, limit: float
) -> dict[str, float]:
    """Train for `limit` seconds; return the steps and their speed, the first, which compiles, counted in."""
    quiet()
    trainer = Trainer(
        accelerator="gpu" if device == "cuda" else "cpu",
        devices=1,
        max_epochs=-1,
        max_time=timedelta(seconds=limit),
        limit_val_batches=0,
        num_sanity_val_steps=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )
    loader = DataModule(data, batch_size=recipe.batch, flip=True)
    spent = seconds(lambda: trainer.fit(learner, loader), device)
    learner.to(device)
    count = trainer.global_step * recipe.batch
    return {
        "steps": trainer.global_step,
        "images": count,
        "seconds": spent,
        "img_per_s": count / spent,
        "final_lr": trainer.optimizers[0].param_groups[0]["lr"],
    }


def quality(
    form: Form, recipe: Recipe, data: DataSet, weights: Path | None, device: str, budget: Budget, out: Path
) -> dict[str, Any]:
    """Return what was trained and its FID; weights: of the Inception, None for random features. The samples
    are drawn to samples.png in the folder `out`. Raises DiffexpError.
    """
    warnings.filterwarnings("ignore", message=".*is not more than the.*features")
    extractor = RandomFeatures() if weights is None else Inception(768, str(weights))
    extractor.check(data.shape)
    extractor.to(device)
    real = len(data.split("train"))
    rate = ByClock(1.0, recipe.warmup)
    learner = module(recipe, data, form.case, rate, compiled=device == "cuda").to(device)
    sampler = Adams(steps=recipe.steps, spacing="soft", corrector=True)
    cost = costs(learner.averaged(), sampler, extractor, form.chunk, device)
    n = images_for_fid(form.n, form.least, cost, real, budget.left())
    metrics = MetricSet(n, extractor, [FID("train", cache=None)])
    size, shown = form.chunk, min(80, n)
    evaluator = Evaluator(sampler, ClassifierFree(), Static(), metrics, batch_size=size, pictures=shown)
    evaluator.prepare(data, device)
    rate.seconds = min(form.longest, max(1.0, budget.left() - SPARE * n * sum(cost) - END))
    print(f"  training for {rate.seconds:.0f} s, then {n} images", flush=True)
    trained = train(data, recipe, learner, device, rate.seconds)
    print(f"  {trained['steps']} steps, {trained['img_per_s']:.0f} img/s", flush=True)
    start = time.perf_counter()
    measured = evaluator.run(learner.averaged(), device=device)
    measured.draw(data.classes, f"{n} images after {trained['seconds']:.0f} s", out / "samples.png")
    ((name, value),) = measured.values.items()
    how = {"sampler": repr(sampler), "nfe": measured.nfe, "measuring_s": time.perf_counter() - start}
    facts = {"data": data.name, "n_reference": real, "n": n, "recipe": asdict(recipe), "training": trained}
    return {"metric": name, "value": value, "card": measured.cards[name], **facts, **how}
