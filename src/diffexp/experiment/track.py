"""The results of a job that trains nothing, as a run of Weights & Biases."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import WandbLogger

from diffexp.experiment.job import Job
from diffexp.experiment.screen import near, say
from diffexp.training.logger import Tracker


def tags(job: Job) -> list[str]:
    """group=option for every choice."""
    return [f"{group}={option}" for group, option in (job.choices or {}).items()]


def track(job: Job, results: Mapping[str, Any], kind: str) -> None:
    """One run: numbers and cards in its summary, and its picture; job_type is `kind`."""
    tracker: Tracker = job.build("logger")
    logger = tracker.open(job.folder, job.config["name"], kind, tags(job), job.public())
    if not isinstance(logger, WandbLogger):
        return
    try:
        numbers = {k: v for k, v in results.items() if isinstance(v, (int, float))}
        logger.experiment.summary.update(numbers | {"cards": results.get("cards", {})})
        picture = Path(str(results.get("picture", "")))
        if picture.is_file():
            logger.log_image(key="samples", images=[str(picture)])
    finally:
        tracker.close()
    tell_sync(job.folder)


def tell_sync(folder: Path) -> None:
    """How an offline run is sent."""
    for found in sorted((folder / "wandb").glob("offline-run-*")):
        say(f"W&B, offline; to send it: wandb sync {near(found)}")
