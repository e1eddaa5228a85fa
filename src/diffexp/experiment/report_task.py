"""task=report: the report of a sweep once more, or of several below each other."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from diffexp.experiment.job import Job
from diffexp.experiment.names import path_of
from diffexp.experiment.planned import read_plan
from diffexp.experiment.record import Record
from diffexp.experiment.report import page, refresh
from diffexp.experiment.screen import near, say
from diffexp.files import write


@dataclass(frozen=True)
class Report:
    """sweeps: folders of sweeps; none for `dir` alone, whose tables are made again too."""

    sweeps: tuple[str, ...] = ()
    tracked: ClassVar[bool] = False

    def check(self, job: Job) -> None:
        for folder in self._folders(job):
            read_plan(folder)

    def _folders(self, job: Job) -> list[Path]:
        return [path_of(s, "task.sweeps") for s in self.sweeps] or [job.folder]

    def run(self, job: Job, record: Record) -> None:
        if self.sweeps:
            write(job.folder / "report.html", page(self._folders(job)))
        else:
            refresh(job.folder)
        say(f"report: {near(job.folder / 'report.html')}")
