"""task=doctor: find out why the samples of a run are bad, by experiments that separate the causes."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from rich.console import Console
from rich.table import Table

from diffexp.config.argv import command
from diffexp.config.build import build
from diffexp.config.suggest import path_of
from diffexp.config.untrusted import typed_before
from diffexp.data import DataSet
from diffexp.data.regular import Links
from diffexp.doctor import Examined, Patient, examine
from diffexp.doctor.examined import every, fits
from diffexp.doctor.page import doctor_page
from diffexp.doctor.parts import metrics_for
from diffexp.doctor.pictured import Pictured
from diffexp.doctor.samples import Samples
from diffexp.errors import ConfigError, DataError, DiffexpError
from diffexp.escape import plain
from diffexp.files import write
from diffexp.model.model import Model
from diffexp.model.restore import Restored
from diffexp.notice import say, warn
from diffexp.redact import redact_typed
from diffexp.run.console import near
from diffexp.run.folder import Record
from diffexp.run.job import Job, Task, device_of
from diffexp.run.ready import check_images, ready
from diffexp.samplers.sampler import check_start
from diffexp.tasks.doctor_images import is_images, pictured
from diffexp.tasks.measure import Measure

FEWEST = 40
_ASIDE = ("task", "dir", "name", "resume", "dry_run", "logger", "plugins")


@dataclass(frozen=True)
class Doctor(Task):
    """ckpt: a checkpoint or a run folder, or images, in a folder or a .npz, of the size of `data`; n: images
    of each experiment; ema: the weights that are examined; only: some of the examinations, by their names.
    resize, links: of a folder of images, as of task=measure.
    """

    ckpt: str
    n: int = 400
    ema: bool | float = True
    only: tuple[str, ...] = ()
    resize: bool = False
    links: Links = "refuse"
    tracked: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.n < FEWEST:
            raise ConfigError(f"n={self.n}", "task.n", f"give {FEWEST} or more images")
        known = [name for name, _ in every()]
        if wrong := [name for name in self.only if name not in known]:
            raise ConfigError(
                f"there is no examination {wrong[0]}", "task.only", f"choose from {', '.join(known)}"
            )

    def check(self, job: Job) -> None:
        device_of(job)
        patient = self._patient(job)
        if isinstance(patient, Patient):
            patient.data.check()
            check_images(patient.model, patient.data)
        known = dict(every())
        if self.only and not any(fits(known[name], patient) for name in self.only):
            do = "leave task.only away, or give the run itself"
            raise ConfigError(f"{', '.join(self.only)} examine a run, not images", "task.only", do)
        patient.metrics.check(patient.data)

    def run(self, job: Job, record: Record) -> None:
        patient = self._patient(job, measure=True)
        patient.metrics.prepare(patient.data, patient.device)
        if isinstance(patient, Patient):
            for model in (patient.model, *patient.others.values()):
                model.to(patient.device)
        found = examine(patient, self.only)
        names, title = _shown(patient)
        picture = patient.draw().draw(names, title, job.folder / "samples.png")
        path = job.folder / "doctor.html"
        write(path, doctor_page(found, patient, command()))
        record.results |= _results(found, patient) | {"page": str(path), "picture": str(picture)}
        _tell(found, patient)
        say(f"page: {near(path)}   everything: {near(job.folder)}/")

    def _patient(self, job: Job, measure: bool = False) -> Patient | Pictured:
        path = path_of(self.ckpt, "task.ckpt")
        if is_images(path):
            read = Measure(self.ckpt, resize=self.resize, links=self.links)
            return pictured(job, path, self.n, FEWEST, read)
        restored, nodes = ready(job, self.ckpt, self.ema, measure)
        sampler, guidance, clip = (build(nodes[k], k, job.allowed) for k in ("sampler", "guidance", "clip"))
        data: DataSet = build(nodes["data"], "data", job.allowed)
        check_start(restored.model.denoiser.schedule, sampler)
        refused = None
        try:
            guidance.check(restored.model)
        except ConfigError as error:
            guidance, refused = replace(guidance, scale=1.0), error
        run, metrics = _folder_of(restored.path), metrics_for(nodes["metrics"], data, self.n, job.allowed)
        return Patient(
            model=restored.model, sampler=sampler, guidance=guidance, clip=clip, data=data, metrics=metrics,
            config=restored.config, ckpt=str(near(Path(self.ckpt))), refused=refused, run=run,
            others=self._others(job, restored) if measure else {},
            typed=_sampling(job), trained=_trained(run), seed=job.config["seed"],
            batch_size=job.config["evaluator"]["batch_size"], device=device_of(job),
        )  # fmt: skip

    def _others(self, job: Job, restored: Restored) -> dict[str, Model]:
        """Return the model with the weights that are not examined: the trained ones, or an average."""
        if restored.tune.needs_base:
            return {}
        name, ema = ("true", True) if self.ema is False else ("false", False)
        try:
            return {name: ready(job, self.ckpt, ema)[0].model}
        except (ConfigError, DataError):  # a checkpoint without them
            return {}


def _shown(patient: Patient | Pictured) -> tuple[tuple[str, ...] | None, str]:
    """Return the names of the classes of a picture of the samples, and its title."""
    if isinstance(patient, Patient):
        return patient.model.class_names, "as they are asked for"
    return patient.data.classes, f"{patient.n} of {len(patient.images):,} images of {patient.ckpt}"


def _folder_of(path: Path) -> Path | None:
    folder = path.parent.parent if path.parent.name == "checkpoints" else path.parent
    return folder if (folder / "config.yaml").is_file() else None


def _sampling(job: Job) -> list[str]:
    """Return what was typed of this job that an evaluation takes as well."""
    typed: Sequence[str] = redact_typed(job.typed)
    return [text for text in typed if text.lstrip("+~").partition("=")[0].partition(".")[0] not in _ASIDE]


def _trained(run: Path | None) -> list[str] | None:
    """Return what was typed for the training; None where that is not known."""
    if run is None:
        return None
    try:
        return redact_typed(typed_before(run, plugins=True))
    except (OSError, DiffexpError) as error:
        warn(f"what was typed for {near(run)} cannot be read: {error}")
        return None


def _results(found: Examined, patient: Samples) -> dict[str, Any]:
    findings = [
        {
            "cause": f.cause,
            "symptom": f.symptom,
            "strength": round(f.strength, 3),
            "saw": f.saw,
            "do": [*map(_line, f.do)],
        }
        for f in found.findings
    ]
    measured = dict(patient.draw().values) | {"cards": patient.draw().cards}
    return measured | {
        "causes": [f.cause for f in found.causes],
        "findings": findings,
        "failed": found.failed,
        "of_runs": found.of_runs,
    }


def _line(words: Sequence[str]) -> str:
    return shlex.join([*command(), *words])


def _tell(found: Examined, patient: Samples) -> None:
    causes = found.causes
    shown = causes or found.findings
    title = "likely causes, the strongest first" if causes else "nothing is above its threshold"
    table = Table(title=title, title_justify="left")
    for column in ("strength", "cause", "what was seen"):
        table.add_column(column, overflow="fold")
    for f in shown:
        table.add_row(f"{f.strength:.2f}", plain(f.cause), plain(f.saw))
    Console().print(table)
    for name, why in found.failed.items():
        warn(f"not examined, {name}: {why}")
    if found.of_runs:
        say(f"a run is needed to examine {', '.join(found.of_runs)}")
    if not causes:
        key = patient.fid_key
        say(f"a clean bill: {key} {patient.fid():.3g}, floor {patient.floor:.3g}, of {patient.n} images")
        return
    say("to confirm or mend it:")
    for line in dict.fromkeys(_line(words) for f in causes for words in f.do[:2]):
        say(f"  {line}")
