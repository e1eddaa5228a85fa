"""task=vote: a page on which people say which images are better, without knowing of which run they are."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image

from diffexp.comparison import ballot
from diffexp.comparison.ballot import NOISE, REAL, Ballot, Check, Kind, Question
from diffexp.config.argv import command
from diffexp.config.build import build
from diffexp.config.suggest import override, path_of
from diffexp.data import DataSet
from diffexp.errors import ConfigError, DiffexpError, Problems
from diffexp.files import write
from diffexp.notice import warn
from diffexp.randomness import generator
from diffexp.report.read_runs import names_of
from diffexp.report.vote_page import Shown, vote_page
from diffexp.run.console import near, say
from diffexp.run.folder import Record
from diffexp.run.job import Job, Task, device_of
from diffexp.tasks.sample import Sample
from diffexp.tasks.vote_sources import Side, is_run, of_folder, of_run, paired, rgb, said_of

MOST, MOST_CHECKS, LARGEST = 2000, 200, 4096
TITLES = {"pairs": "Which image is better?", "mos": "How good is this image?"}


@dataclass
class Vote(Task):
    """runs: two or more runs, checkpoints, or folders of images. kind: pairs, or mos for marks of 1 to 5 of
    single images. n: questions; checks: how many more, of which the answer is known. question: what the page
    asks. size: pixels of the longer side, to which larger images are made smaller.

    classes, prompts, negative, ema: as of task=sample, of all runs.
    """

    runs: tuple[str, ...] = ()
    kind: Kind = "pairs"
    n: int = 50
    checks: int = 6
    question: str | None = None
    size: int = 512
    classes: tuple[int, ...] | None = None
    prompts: tuple[str, ...] | str | None = None
    negative: str | None = None
    ema: bool | float = True
    tracked: ClassVar[bool] = False
    _real: DataSet | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        problems = Problems()
        with problems:
            if self.kind not in TITLES:
                raise ConfigError(f"kind={self.kind}", "task.kind", "give pairs or mos")
        for key, low, high in (("n", 1, MOST), ("checks", 0, MOST_CHECKS), ("size", 16, LARGEST)):
            with problems:
                if not low <= (value := getattr(self, key)) <= high:
                    raise ConfigError(f"{key}={value}", f"task.{key}", f"give {low} to {high:,}")
        problems.all_at_once()

    def check(self, job: Job) -> None:
        device_of(job)
        sides = self._sides(job)
        self._chosen(sides, job.config["seed"])
        self._checks(job, sides)

    def network_calls(self, job: Job) -> int:
        runs = [run for run in self.runs if is_run(path_of(run, "task.runs"))]
        return sum(self._sample(run).network_calls(job) for run in runs)

    @property
    def images(self) -> int:
        """The count of numbers of which there are images."""
        return ballot.images_needed(self.kind, len(self.runs), self.n)

    def _sample(self, run: str) -> Sample:
        return Sample(
            run, self.images, self.classes, self.prompts, negative=self.negative, files=False, ema=self.ema
        )

    def _sides(self, job: Job) -> list[Side]:
        """Return what is compared. Raises DiffexpError."""
        if len(self.runs) < 2:
            do = "type task.runs=[A,B], runs or folders of images"
            raise ConfigError("there are not two runs to vote on", "task.runs", do)
        paths = [path_of(run, "task.runs") for run in self.runs]
        if len({path.resolve() for path in paths}) < len(paths):
            raise ConfigError("a run is named twice", "task.runs", "name each once")
        least = len(paths) if self.kind == "mos" else len(paths) * (len(paths) - 1) // 2
        if self.n < least:
            what = f"n={self.n} questions do not compare all of {len(paths)} runs"
            raise ConfigError(what, "task.n", f"give {least} or more")
        return [
            of_run(job, name, self._sample(run)) if is_run(path) else of_folder(path, name)
            for run, path, name in zip(self.runs, paths, names_of(paths), strict=True)
        ]

    def _chosen(self, sides: Sequence[Side], seed: int) -> list[tuple[tuple[str, ...], str]]:
        """Return the keys of the images of each number, and what they show."""
        keys, needed = paired(sides), self.images
        if len(keys) < needed:
            most = len(keys) if self.kind == "pairs" else len(keys) * len(sides)
            what = f"{len(keys)} images are in all of these, and task.n={self.n} wants {needed}"
            raise ConfigError(what, "task.n", f"type task.n={most}")
        order = torch.randperm(len(keys), generator=generator(seed, "vote"))[:needed].sort().values
        return [(keys[i], said_of(sides, keys[i])) for i in order.tolist()]

    def _checks(self, job: Job, sides: Sequence[Side]) -> list[Check]:
        """Return the checks: of marks, of noise; of pairs, half of one image twice, and half of a real one
        against noise, where there is a data set.
        """
        if self.kind == "mos":
            return list[Check](["noise"]) * self.checks
        real = self.checks // 2 if self._data(job, sides) is not None else 0
        same = list[Check](["same"]) * (self.checks - real)
        return same + list[Check](["real"]) * real

    def _data(self, job: Job, sides: Sequence[Side]) -> DataSet | None:
        """Return the real images: those that are typed, else of the first run; None for none."""
        if self._real is None and self.checks > 1:
            typed = {text.lstrip("+~").partition("=")[0].partition(".")[0] for text in job.typed}
            node = next((side.data for side in sides if side.data is not None), None)
            node = job.config["data"] if typed & {"data", "experiment"} else node
            try:
                data: DataSet | None = None if node is None else build(node, "data", job.allowed)
                if data is not None:
                    data.check()
                self._real = data
            except DiffexpError as error:
                if "data" in typed:
                    raise
                warn(f"the checks have no real images: {error.what} ({error.where})")
        return self._real

    def run(self, job: Job, record: Record) -> None:
        sides, seed = self._sides(job), job.config["seed"]
        chosen = self._chosen(sides, seed)
        asked = ballot.questions(self.kind, len(sides), self.n, self._checks(job, sides), seed)
        drawn = [side.read([keys[i] for keys, _ in chosen]) for i, side in enumerate(sides)]
        shown = [self._shown(q, drawn, chosen, seed) for q in asked]
        html, page = vote_page(self.kind, self.question or TITLES[self.kind], shown)
        path = job.folder / "vote.html"
        write(path, html)
        of = Ballot(self.kind, page, tuple(side.name for side in sides), tuple(asked))
        images = [{"names": list(keys), "prompt": words} for keys, words in chosen]
        key = ballot.save(job.folder, of, [side.about for side in sides], images)
        record.results |= {"page": str(path), "key": str(key), "digest": page, "questions": self.n}
        record.results["checks"] = len(asked) - self.n
        say(f"{self.n} questions and {len(asked) - self.n} checks, {len(html) / 1e6:.2g} MB: {near(path)}")
        say(f"give that file to people, and not {near(key)}, which says what is what; then")
        typed = ["task=votes", override("task.path", near(job.folder)), "task.answers=[A.json,B.json]"]
        say(f"  {shlex.join([*command(), *typed])}")

    def _shown(
        self, q: Question, drawn: Sequence[Sequence[Image.Image]], chosen: Sequence[Any], seed: int
    ) -> Shown:
        """Return a question with its images."""
        words = chosen[q.image][1]
        if not set(q.shown) & {REAL, NOISE}:
            return Shown(q.id, words, [self._fitted(drawn[run][q.image]) for run in q.shown])
        like = self._fitted(drawn[0][q.image])
        special = {}
        if q.check == "real":
            special[REAL], words = self._one_real(seed, q.id, {words for _, words in chosen})
            like = special[REAL]
        random = np.random.default_rng(generator(seed, "noise", q.id).initial_seed())
        special[NOISE] = rgb(random.integers(0, 256, (like.height, like.width, 3), dtype=np.uint8))
        return Shown(q.id, words, [special[run] for run in q.shown])

    def _one_real(self, seed: int, name: str, said: set[str]) -> tuple[Image.Image, str]:
        """Return a real image, and its words: of the kind of the others."""
        assert self._real is not None
        images, classes = self._real.split("test"), self._real.classes
        i = torch.randint(len(images), (1,), generator=generator(seed, "real", name))
        batch = images.batch(i)
        words = "" if batch.label is None or classes is None else classes[int(batch.label[0])]
        if images.captions is not None and not said <= set(classes or ()):
            words = next(iter(images.captions[int(i)]), "")
        return self._fitted(rgb(batch.image[0].permute(1, 2, 0).numpy())), words if said != {""} else ""

    def _fitted(self, image: Image.Image) -> Image.Image:
        if max(image.size) <= self.size:
            return image
        smaller = image.copy()
        smaller.thumbnail((self.size, self.size), Image.Resampling.LANCZOS)
        return smaller
