"""task=report: write the report of a sweep once more, or of several below each other."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from diffexp.config.suggest import path_of
from diffexp.files import write
from diffexp.report.html import page, refresh
from diffexp.run.console import near, say
from diffexp.run.folder import Record
from diffexp.run.job import Job, Task
from diffexp.run.plan import read_plan


@dataclass(frozen=True)
class Report(Task):
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
