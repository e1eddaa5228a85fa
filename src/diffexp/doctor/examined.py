"""Run all examinations, and order what they have found by the strength of its evidence."""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pkgutil import iter_modules

from diffexp.doctor import examinations
from diffexp.doctor.finding import Finding
from diffexp.doctor.patient import Patient
from diffexp.errors import DiffexpError, ResourceError
from diffexp.progress import counting

Examination = Callable[[Patient], list[Finding]]
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Examined:
    """findings: strongest first; failed: by the name of an examination why it could not be made; nothing:
    those that this run has nothing for.
    """

    findings: list[Finding]
    failed: dict[str, str]
    nothing: list[str]

    @property
    def causes(self) -> list[Finding]:
        """The findings above their thresholds."""
        return [finding for finding in self.findings if finding.ill]


def every() -> Iterator[tuple[str, Examination]]:
    """Yield the examinations by name: the files of examinations/."""
    for module in sorted(iter_modules(examinations.__path__), key=lambda m: m.name):
        yield module.name, import_module(f"{examinations.__name__}.{module.name}").examine


def examine(patient: Patient, only: Sequence[str] = ()) -> Examined:
    """Examine a patient. One examination that fails is told, and the others are made; a full disk ends
    all.
    """
    found, failed, nothing = list[Finding](), dict[str, str](), list[str]()
    patient.draw()
    chosen = [(name, run) for name, run in every() if not only or name in only]
    for name, run in chosen:
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
    return Examined(sorted(found, key=lambda f: -f.strength), failed, nothing)
