"""A folder of images, or a .npz, as the patient of task=doctor."""

from dataclasses import replace
from pathlib import Path

from diffexp.data import DataSet
from diffexp.data.dataset import Images
from diffexp.doctor.parts import metrics_for
from diffexp.doctor.pictured import Pictured
from diffexp.errors import ConfigError, DataError
from diffexp.notice import warn
from diffexp.redact import redact_typed
from diffexp.run.console import near
from diffexp.run.job import Job, device_of
from diffexp.run.ready import SAMPLING, TRAINED
from diffexp.tasks.measure import Measure
from diffexp.tasks.vote_sources import is_run

_OF_RUNS = {*SAMPLING, *TRAINED, "precision", "task.ema"} - {"metrics", "data", "experiment"}


def is_images(path: Path) -> bool:
    """Return whether images lie there, and no run: a .npz, a folder of images, or that of a task=sample."""
    if path.suffix == ".npz":
        return True
    if not path.is_dir() or is_run(path):
        return False
    return not (path / "config.yaml").exists() or _sampled(path)


def pictured(job: Job, path: Path, n: int, fewest: int, read: Measure) -> Pictured:
    """Return images as a patient. Raises ConfigError for what was typed of a run, and DataError for images
    that are not of the size of `data`, or fewer than `fewest`.
    """
    keys = [text.lstrip("+~").partition("=")[0] for text in job.typed]
    if wrong := [key for key in keys if key in _OF_RUNS or key.partition(".")[0] in _OF_RUNS]:
        do = "leave it away, or give a run as task.ckpt"
        raise ConfigError(f"{wrong[0]} is of a run, and {near(path)} holds images", wrong[0], do)
    data: DataSet = job.build("data")
    data.check()
    folder = path / "samples" if _sampled(path) else path
    images, count = _read(replace(read, images=str(folder)), data)
    if count < fewest:
        what, do = f"{count} images are too few to say anything", f"give {fewest} or more"
        raise DataError(what, str(folder), do)
    metrics = metrics_for(job.config["metrics"], data, min(n, count), job.allowed)
    size, device = job.config["evaluator"]["batch_size"], device_of(job)
    return Pictured(images, data, metrics, str(near(folder)), _typed(job), device, size)


def _sampled(path: Path) -> bool:
    return (path / "run.json").exists() and (path / "samples" / "metadata.jsonl").exists()


def _read(measure: Measure, data: DataSet) -> tuple[Images, int]:
    """Return the images, without classes where theirs are not those of the data."""
    try:
        return measure.read(data)
    except DataError as error:
        if measure.label is not None or "task.label" not in error.do + error.where:
            raise DataError(
                error.what, error.where, error.do.replace("task.images=", "task.ckpt=")
            ) from error
        warn(f"the images are examined without classes: {error.what}")
        return replace(measure, label="none").read(data)


def _typed(job: Job) -> list[str]:
    """Return what was typed of the data and metrics."""
    kept = ("data", "metrics", "experiment", "data_root")
    return [t for t in redact_typed(job.typed) if t.lstrip("+~").partition("=")[0].partition(".")[0] in kept]
