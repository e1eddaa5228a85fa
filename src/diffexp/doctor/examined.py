"""Run all examinations, and order what they have found by the strength of its evidence."""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from inspect import signature
from pkgutil import iter_modules
from typing import Any

from diffexp.doctor import examinations
from diffexp.doctor.finding import Finding
from diffexp.doctor.patient import Patient
from diffexp.doctor.samples import Samples
from diffexp.errors import DiffexpError, ResourceError
from diffexp.progress import counting

Examination = Callable[[Any], list[Finding]]
"""Of a Patient, which is a run; or, where the type of its parameter says so, of any Samples."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Examined:
    """findings: strongest first; failed: by the name of an examination why it could not be made; nothing:
    those that this patient has nothing for; of_runs: those that examine a run, which this patient is not.
    """

    findings: list[Finding]
    failed: dict[str, str]
    nothing: list[str]
    of_runs: list[str] = field(default_factory=list[str])

    @property
    def causes(self) -> list[Finding]:
        """The findings above their thresholds."""
        return [finding for finding in self.findings if finding.ill]


def every() -> Iterator[tuple[str, Examination]]:
    """Yield the examinations by name: the files of examinations/."""
    for module in sorted(iter_modules(examinations.__path__), key=lambda m: m.name):
        yield module.name, import_module(f"{examinations.__name__}.{module.name}").examine


def fits(run: Examination, patient: Samples) -> bool:
    """Return whether an examination is of patients of this kind, by the type of its parameter."""
    (first, *_) = signature(run, eval_str=True).parameters.values()
    return isinstance(patient, Patient if first.annotation is first.empty else first.annotation)


def examine(patient: Samples, only: Sequence[str] = ()) -> Examined:
    """Examine a patient. One examination that fails is told, and the others are made; a full disk ends
    all.
    """
    found, failed, nothing = list[Finding](), dict[str, str](), list[str]()
    patient.draw()
    chosen = [(name, run, fits(run, patient)) for name, run in every() if not only or name in only]
    for name, run in [(name, run) for name, run, fit in chosen if fit]:
        with counting(f"examining: {name}"):
            try:
                findings = run(patient)
            except ResourceError:
                raise
            except DiffexpError as error:
                _log.warning("%s: %s", name, error)
                failed[name] = error.what
                continue
        found += findings
        nothing += [] if findings else [name]
    of_runs = [name for name, _, fit in chosen if not fit and not isinstance(patient, Patient)]
    return Examined(sorted(found, key=lambda f: -f.strength), failed, nothing, of_runs)
