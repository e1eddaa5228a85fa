"""task=data: look at a data set, and train nothing: sizes, classes, captions, and a page with images."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from diffexp.data import DataSet, SplitName, Texts
from diffexp.data.bucket_report import HEAD, bucket_rows
from diffexp.data.caption_report import CaptionReport, Reader, caption_report, rows_of
from diffexp.data.dataset import Images
from diffexp.errors import ConfigError, DiffexpError
from diffexp.escape import plain
from diffexp.files import write
from diffexp.notice import warn
from diffexp.pictures import grid, save
from diffexp.report.data_page import Card, Survey, cut, data_page, most_frequent
from diffexp.run.console import near, say
from diffexp.run.folder import Record
from diffexp.run.job import Job, Task

SPLITS: tuple[SplitName, ...] = ("train", "val", "test")
EPOCHS, ROWS = 3, 20


@dataclass
class Data(Task):
    """split: whose captions and images are shown; pictures: how many images."""

    split: SplitName = "train"
    pictures: int = 60
    tracked: ClassVar[bool] = False
    _data: DataSet | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        if not 1 <= self.pictures <= 1000:
            raise ConfigError(f"pictures={self.pictures}", "task.pictures", "give 1 to 1000")

    def check(self, job: Job) -> None:
        self._read(job)

    def _read(self, job: Job) -> DataSet:
        """Return the data set, read once."""
        if self._data is not None:
            return self._data
        data: DataSet = job.build("data")
        data.check()
        self._data = data
        return data

    def run(self, job: Job, record: Record) -> None:
        data = self._read(job)
        images = data.split(self.split)
        captions = images.captions
        report = None if captions is None else caption_report([captions], _reader(job, captions))
        cards, buckets = self._cards(job, data), bucket_rows(data)
        survey = Survey(_about(data), data.original_sides(), _classes(data), report, cards, buckets)
        console = Console()
        for table in _tables(survey, self.split):
            console.print(table)
        page, picture = job.folder / "data.html", job.folder / "data.png"
        write(page, data_page(data.name, survey))
        self._draw(survey.cards, data.name, picture)
        record.results |= _results(data, survey) | {"page": str(page), "picture": str(picture)}
        say(f"page: {near(page)}   picture: {near(picture)}")

    def _cards(self, job: Job, data: DataSet) -> list[Card]:
        images = data.split(self.split)
        batch = images.batch(_chosen(images, self.pictures))
        captions, names = images.captions, data.classes
        varies = captions is not None and captions.varies
        seed = job.config["loader"]["seed"]
        drawn = [captions.drawn(seed, e, batch.index) for e in range(EPOCHS)] if captions and varies else []
        cards = []
        for row, i in enumerate(batch.index.tolist()):
            label = "" if batch.label is None or names is None else names[int(batch.label[row])]
            shown = () if captions is None else [captions.options.whole(text) for text in captions[i]]
            cards.append(Card(batch.image[row], label, shown, [texts[row] for texts in drawn]))
        return cards

    def _draw(self, cards: Sequence[Card], name: str, path: Any) -> None:
        labels = [cut(card.label, 30) for card in cards] if cards[0].label else None
        title = f"{len(cards)} images of the {self.split} split of {cut(name, 60)}"
        save(grid(torch.stack([card.image for card in cards]), labels, title=title), path)


def _chosen(images: Images, most: int) -> Tensor:
    """Return the numbers of images to show, int64: as many of each class, or from all of the split."""
    count = len(images)
    even = torch.linspace(0, count - 1, min(most, count)).long().unique()
    if images.labels is None:
        return even
    classes = images.labels.unique()
    if len(classes) > most:
        return even[images.labels[even].argsort(stable=True)]
    return torch.cat([(images.labels == c).nonzero().flatten()[: most // len(classes)] for c in classes])


def _reader(job: Job, captions: Texts) -> Reader | None:
    """Return the text encoder of the configuration, where there is one, when it has seen the captions."""
    if not isinstance(job.config.get("text_encoder"), dict):
        return None
    try:
        encoder = job.build("text_encoder")
        encoder.fit(captions.every())
        encoder.lengths([""])
    except DiffexpError as error:
        warn(f"what the text encoder cuts is not known: {error.what}")
        return None
    return encoder


def _about(data: DataSet) -> dict[str, object]:
    channels, height, width = data.shape
    counts = ", ".join(f"{len(data.split(name)):,} {name}" for name in SPLITS)
    classes = f"{len(data.classes):,}" if data.classes else "none"
    texts = "yes" if data.split("train").texts is not None else "none"
    size = f"{height}x{width}, {'RGB' if channels == 3 else 'grey'}"
    about: dict[str, object] = {"images": counts, "size": size, "classes": classes, "captions": texts}
    images = data.bucketed("train")
    return about if images is None else about | {"buckets": images.sorted.words()}


def _classes(data: DataSet) -> list[tuple[str, int, int, int]]:
    train, val, test = (data.counts(name) for name in SPLITS)
    return [(name, train[name], val[name], test[name]) for name in train]


def _tables(survey: Survey, split: str) -> list[Table]:
    tables = [
        _table("data", ["", ""], [*survey.about.items()]),
        _table("sizes", ["height x width", "images"], most_frequent(survey.sides)),
    ]
    if survey.buckets:
        tables.append(_table("buckets", HEAD, [row.cells for row in survey.buckets]))
    if survey.classes:
        more = f", of {len(survey.classes):,}" if len(survey.classes) > ROWS else ""
        head = ["class", "train", "val", "test"]
        tables.append(_table(f"classes{more}", head, survey.classes[:ROWS]))
    if (report := survey.captions) is not None:
        tables.append(_table(f"captions of the {split} split", ["", ""], rows_of(report)))
        tables.append(_table("most frequent words", ["word", "captions"], report.frequent))
        if report.repeated:
            tables.append(_table("captions of several images", ["caption", "images"], report.repeated))
    return tables


def _table(title: str, head: Sequence[str], rows: Sequence[Sequence[object]]) -> Table:
    table = Table(title=title, title_justify="left", show_header=any(head))
    for name in head:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(plain(f"{v:,}" if isinstance(v, int) else cut(v, 200)) for v in row))
    return table


def _results(data: DataSet, survey: Survey) -> dict[str, Any]:
    results: dict[str, Any] = {f"n_{name}": len(data.split(name)) for name in SPLITS}
    results |= {"classes": len(survey.classes), "sizes": len(survey.sides)}
    results["fingerprint"] = data.fingerprint("train")
    if survey.buckets:
        results["buckets"] = {
            row.name: dict(zip(HEAD[1:], row.cells[1:], strict=True)) for row in survey.buckets
        }
    report: CaptionReport | None = survey.captions
    if report is not None:
        keys = ("captions", "several", "empty", "again", "scripts")
        results["captions"] = {key: getattr(report, key) for key in keys} | {
            "words": vars(report.words),
            "letters": vars(report.letters),
            "cut": report.cut and {"captions": report.cut.captions, "lost": report.cut.lost},
        }
    return results
