"""task=measure: the metrics of images that lie in a folder or a .npz, whoever has made them."""

import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from torch import Tensor

from diffexp.config.build import build
from diffexp.config.suggest import path_of
from diffexp.data import DataSet, Folder, InMemory, metadata
from diffexp.data.dataset import Images
from diffexp.data.images import picture, shown_sides
from diffexp.data.npz import read_npz
from diffexp.data.regular import Links
from diffexp.errors import ConfigError, DataError
from diffexp.metrics import Evaluation, MetricSet
from diffexp.notice import warn
from diffexp.progress import counting
from diffexp.randomness import generator
from diffexp.run.console import near, say, values_table
from diffexp.run.folder import Record
from diffexp.run.job import Job, Task, device_of

LABEL = "label"  # the column that task=sample writes


@dataclass(frozen=True)
class Measure(Task):
    """images: a folder (as data=folder has it) or a .npz (as data=npz has it), of the size, and with the
    classes, of `data`.

    All are measured; metrics.n=1000, typed, takes 1000 at random, the same each time. label, text: the
    columns of metadata.jsonl that say what each image was to show, its class (without the column sub-folders
    do) and its caption; label=none for no classes, text=none for no captions. Of a .npz text is the array of
    captions, by default as data=npz has it. resize: images of another size, to that of the data.
    links: as those of data=folder.
    """

    images: str
    label: str | None = None
    text: str = metadata.CAPTION
    resize: bool = False
    links: Links = "refuse"

    def check(self, job: Job) -> None:
        device_of(job)
        data = job.build("data")
        data.check()
        _, count = self.read(data)
        self._metrics(job, count).check(data)

    def run(self, job: Job, record: Record) -> None:
        data: DataSet = job.build("data")
        images, count = self.read(data)
        metrics = self._metrics(job, count)
        metrics.prepare(data, device_of(job))
        start = time.perf_counter()
        chosen = torch.randperm(count, generator=generator(0, "measure"))[: metrics.n].sort().values
        with _keys_of_the_task():
            equal = _update(metrics, images, chosen, job.config["evaluator"]["batch_size"])
        values = metrics.compute()
        source = {"images": self.images, "images_sha256": images.fingerprint()[:12], "images_there": count}
        cards = {key: card | source for key, card in metrics.cards.items()}
        if equal:
            warn(f"all {len(chosen):,} images of {self.images} are one and the same")
            for card in cards.values():
                card["note"] = "; ".join([*filter(None, [card.get("note")]), "all images are equal"])
        picture = self._picture(job, images, chosen, data, metrics)
        more = {"seconds": round(time.perf_counter() - start, 2), "picture": str(picture)}
        record.results |= values | more | {"cards": cards}
        Console().print(values_table([(key, value, cards[key]) for key, value in values.items()]))
        say(f"picture: {near(picture)}   everything: {near(job.folder)}/")

    def _picture(self, job: Job, images: Images, chosen: Tensor, data: DataSet, metrics: MetricSet) -> Path:
        count = min(job.config["evaluator"]["pictures"], len(chosen))
        shown = images.batch(chosen[torch.linspace(0, len(chosen) - 1, count).long()])
        title = f"{len(shown.image)} of {len(chosen):,} images of {near(Path(self.images))}"
        drawn = Evaluation({}, {}, shown.image, shown.label, 0, 0.0, pictures=metrics.pictures)
        return drawn.draw(data.classes, title, job.folder / "samples" / "grid.png")

    def _metrics(self, job: Job, count: int) -> MetricSet:
        node = dict(job.config["metrics"])
        wanted = any(text.lstrip("+").startswith("metrics.n=") for text in job.typed)
        node["n"] = min(count, node["n"]) if wanted else count
        metrics: MetricSet = build(node, "metrics", job.allowed)
        metrics.compare_with(job.config["evaluator"].get("reference"))
        if not metrics.metrics:
            raise ConfigError("metrics=none measures nothing", "metrics", "type metrics=inception")
        return metrics

    def read(self, data: DataSet) -> tuple[Images, int]:
        """Return the images, and how many. Raises DataError for those that do not fit the data."""
        with _keys_of_the_task():
            return self._images(data)

    def _images(self, data: DataSet) -> tuple[Images, int]:
        path = path_of(self.images, "task.images")
        if not path.is_dir() and path.suffix != ".npz":
            raise DataError("there is no such folder", str(path), "type task.images=FOLDER, or a .npz")
        array = None if self.text == metadata.CAPTION else self.text
        images = read_npz(path, array) if path.suffix == ".npz" else self._folder(path, data)
        if data.classes is None or self.label == "none":
            images.labels = None
        names = data.classes or ()
        if isinstance(images, InMemory) and tuple(images.images.shape[1:]) != data.shape:
            what = f"the images are {tuple(images.images.shape[1:])}, those of {data.name} {data.shape}"
            raise DataError(what, str(path), "name their data set: data=...")
        if images.labels is not None and int(images.labels.max()) >= len(names):
            what = f"labels up to {int(images.labels.max())}, and {data.name} has {len(names)} classes"
            raise DataError(what, str(path), "name their data set: data=...")
        return images, len(images)

    def _folder(self, path: Path, data: DataSet) -> Images:
        channels, height, width = data.shape
        rows = metadata.read(path, self.links) or {}
        there = any(LABEL in row for row in rows.values())
        label = self.label or (LABEL if there else "folder")
        mode = "L" if channels == 1 else "RGB"
        made = Folder(str(path), (height, width), mode, label, self.text, stream=True, links=self.links)
        if not self.resize:
            _same_size(made.files, (height, width), data.name)
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


@contextmanager
def _keys_of_the_task() -> Iterator[None]:
    """Let a DataError of the folder of images name the keys as this task has them."""
    try:
        yield
    except DataError as error:
        where = re.sub(r"^data\.(label|text)$", r"task.\1", error.where)
        do = re.sub(r"\bdata\.(label|text|links)=", r"task.\1=", error.do)
        do = do.replace("data.path=", "task.images=")
        raise DataError(error.what, where, do.replace(", or type data.broken=skip", "")) from error


def _update(metrics: MetricSet, images: Images, chosen: Tensor, size: int) -> bool:
    """Take the chosen images into the metrics, `size` at a time; return whether all are equal."""
    equal, first = True, images.batch(chosen[:1]).image
    with counting("measuring") as progress:
        for index in chosen.split(size):
            batch = images.batch(index)
            equal = equal and bool((batch.image == first).all())
            metrics.update(batch.image, batch.label, batch.text)
            progress(int((chosen <= index[-1]).sum()), len(chosen))
    return equal


def _same_size(files: Sequence[Path], size: tuple[int, int], name: str) -> None:
    """Raise DataError at the first image that is not of size (H, W): scaled, it would measure otherwise."""
    for file in files:
        with picture(file) as image:
            # the orientation only where it decides, for reading it may unpack the picture
            height, width = shown_sides(image) if sorted(image.size) == sorted(size) else image.size[::-1]
        if (height, width) != size:
            kept = f"{size[0]}x{size[1]} (height x width)"
            what = f"this image is {height}x{width}, those of {name} are {kept}"
            raise DataError(what, str(file), "name their data set: data=..., or type task.resize=true")
