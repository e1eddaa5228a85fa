"""task=measure: the metrics of images that lie in a folder or a .npz, whoever has made them."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from rich.console import Console

from diffexp.data import DataSet, Folder, InMemory, metadata
from diffexp.data.dataset import Images
from diffexp.data.npz import read_npz
from diffexp.errors import ConfigError, DataError
from diffexp.experiment.build import build
from diffexp.experiment.job import Job
from diffexp.experiment.names import path_of
from diffexp.experiment.record import Record
from diffexp.experiment.restore import device_of
from diffexp.experiment.screen import counting, near, say, values_table
from diffexp.metrics import Evaluation, MetricSet
from diffexp.randomness import generator

LABEL = "label"  # the column that task=sample writes


@dataclass(frozen=True)
class Measure:
    """images: a folder (as data=folder has it) or a .npz, of the size, and with the classes, of `data`.

    All are measured; metrics.n=1000, typed, takes 1000 at random, the same each time. label, text: the
    columns of metadata.jsonl that say what each image was to show, its class (without the column sub-folders
    do) and its caption. resize: images of another size, to that of the data.
    """

    images: str
    label: str | None = None
    text: str = metadata.CAPTION
    resize: bool = False

    def check(self, job: Job) -> None:
        device_of(job)
        data = job.build("data")
        data.check()
        _, count = self._images(data)
        self._metrics(job, count).check(data)

    def run(self, job: Job, record: Record) -> None:
        data: DataSet = job.build("data")
        images, count = self._images(data)
        metrics, size = self._metrics(job, count), job.config["evaluator"]["batch_size"]
        metrics.prepare(data, device_of(job))
        start = time.perf_counter()
        chosen = torch.randperm(count, generator=generator(0, "measure"))[: metrics.n].sort().values
        with counting("measuring") as progress:
            for index in chosen.split(size):
                batch = images.batch(index)
                metrics.update(batch.image, batch.label, batch.text)
                progress(int((chosen <= index[-1]).sum()), len(chosen))
        values = metrics.compute()
        told = {"images": self.images, "images_sha256": images.fingerprint()[:12], "images_there": count}
        cards = {key: card | told for key, card in metrics.cards.items()}
        pictures = min(job.config["evaluator"]["pictures"], len(chosen))
        shown = images.batch(chosen[torch.linspace(0, len(chosen) - 1, pictures).long()])
        title = f"{len(shown.image)} of {len(chosen):,} images of {near(Path(self.images))}"
        drawn = Evaluation({}, {}, shown.image, shown.label, 0, 0.0)
        picture = drawn.draw(data.classes, title, job.folder / "samples" / "grid.png")
        more = {"seconds": round(time.perf_counter() - start, 2), "picture": str(picture)}
        record.results |= values | more | {"cards": cards}
        Console().print(values_table([(key, value, cards[key]) for key, value in values.items()]))
        say(f"picture: {near(picture)}   everything: {near(job.folder)}/")

    def _metrics(self, job: Job, count: int) -> MetricSet:
        node = dict(job.config["metrics"])
        wanted = any(text.lstrip("+").startswith("metrics.n=") for text in job.typed)
        node["n"] = min(count, node["n"]) if wanted else count
        metrics: MetricSet = build(node, "metrics", job.allowed)
        if not metrics.metrics:
            raise ConfigError("metrics=none measures nothing", "metrics", "type metrics=inception")
        return metrics

    def _images(self, data: DataSet) -> tuple[Images, int]:
        """Raises DataError for images that do not fit the data."""
        path = path_of(self.images, "task.images")
        if not path.is_dir() and path.suffix != ".npz":
            raise DataError("there is no such folder", str(path), "type task.images=FOLDER, or a .npz")
        found = read_npz(path) if path.suffix == ".npz" else self._folder(path, data)
        names = data.classes or ()
        if isinstance(found, InMemory) and tuple(found.images.shape[1:]) != data.shape:
            what = f"the images are {tuple(found.images.shape[1:])}, those of {data.name} {data.shape}"
            raise DataError(what, str(path), "name their data set: data=...")
        if found.labels is not None and int(found.labels.max()) >= len(names):
            what = f"labels up to {int(found.labels.max())}, and {data.name} has {len(names)} classes"
            raise DataError(what, str(path), "name their data set: data=...")
        return found, len(found)

    def _folder(self, path: Path, data: DataSet) -> Images:
        channels, height, width = data.shape
        if height != width:
            raise ConfigError(f"{data.name} is not square", "task.images", "give a .npz")
        rows = metadata.read(path) or {}
        there = any(LABEL in row for row in rows.values())
        label = self.label or (LABEL if there else "folder")
        mode = "L" if channels == 1 else "RGB"
        made = Folder(str(path), height, mode, label, self.text, stream=True)
        if not self.resize:
            _same_size(made.files, height, data.name)
        images = made.everything()
        if images.labels is None or data.classes is None:
            images.labels = None
            return images
        names = made.classes or ()
        if strange := [name for name in names if name not in data.classes]:
            what = f"{strange[0]} is no class of {data.name}"
            do = f"name one of {', '.join(data.classes[:10])}; or type task.label=none"
            raise DataError(what, str(path), do)
        number = torch.tensor([data.classes.index(name) for name in names])
        images.labels = number[images.labels]
        return images


def _same_size(files: Sequence[Path], size: int, name: str) -> None:
    """Raises DataError at the first image that is not size x size: scaled, it would measure otherwise."""
    for file in files:
        try:
            with Image.open(file) as image:
                found = image.size
        except OSError as error:
            raise DataError(f"this image cannot be read: {error}", str(file), "mend or remove it") from error
        if found != (size, size):
            what = f"this image is {found[0]}x{found[1]}, those of {name} are {size}x{size}"
            raise DataError(what, str(file), "name their data set: data=..., or type task.resize=true")
