"""The lines of a sweep, composed one after the other while its jobs run; a faulty one costs itself."""

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from diffexp.errors import DiffexpError
from diffexp.run.results import rows
from diffexp.sweep.cell import Cell, identity, varying
from diffexp.sweep.worker import News, failed

Compose = Callable[[int], tuple[DictConfig, dict[str, Any]]]
"""Called with the number of a line; returns its configuration, and which option it has of each group."""


class Lines:
    """The lines of a sweep, composed in their order.

    cells: of the lines that are composed so far, each once; refused: by id, what is wrong with those that
    cannot be; same: how many were the same as a line before; done: how many were done before; keys: what
    varies in all lines, with its values.
    """

    def __init__(self, folder: Path, typed: Sequence[Sequence[str]], compose: Compose, conf: Path) -> None:
        self.folder, self.typed, self.compose, self.conf = folder, typed, compose, conf
        self.keys = varying(typed)
        self.cells: list[Cell] = []
        self.refused: dict[str, DiffexpError] = {}
        self.same = self.done = 0
        self.complete = False
        self._first: Cell | None = None

    @property
    def total(self) -> int:
        """The number of jobs; lines that are not composed yet count as one each."""
        return len(self.typed) - self.same

    def first(self) -> Cell:
        """Compose the first line. Raises what is wrong with it: a sweep whose first line is faulty is refused
        before anything begins, for a key that is mistyped is so in all lines.
        """
        self._first = self._cell(0)
        return self._first

    def steps(self) -> Iterator[Cell | News | None]:
        """Compose the lines in their order, and yield for each the job to run, the news that it was refused,
        of which a row is written, or None if there is nothing to do.
        """
        done = {key for key, row in rows(self.folder).items() if row["state"] == "done"}
        for cell in self:
            if cell is None:
                yield None
            elif (error := self.refused.get(cell.id)) is not None:
                yield failed(self.folder, cell, time.monotonic(), str(error), error.code)
            elif cell.id in done:
                self.done += 1
                yield None
            else:
                yield cell

    def __iter__(self) -> Iterator[Cell | None]:
        """Compose the lines in their order; None for one that is the same as one before."""
        known = set[str]()
        for number in range(len(self.typed)):
            cell = self._first if number == 0 and self._first is not None else self._any(number)
            self.complete = number + 1 == len(self.typed)
            if cell.id in known:
                self.same += 1
                yield None
                continue
            known.add(cell.id)
            self.cells.append(cell)
            yield cell

    def _cell(self, number: int) -> Cell:
        from diffexp.config.hydra_errors import before_imports

        cfg, choices = self.compose(number)
        before_imports(cfg, self.typed[number], self.conf)
        return cell_of(self.folder, cfg, choices, typed=self.typed[number])

    def _any(self, number: int) -> Cell:
        """Return the cell of any line: a faulty one has no configuration and is known by what was typed."""
        try:
            return self._cell(number)
        except Exception as error:  # whatever it is, the other lines are not to be lost
            typed = tuple(self.typed[number])
            key = hashlib.sha256("\n".join(typed).encode("utf-8", "surrogatepass")).hexdigest()[:12]
            self.refused[key] = _explained(error, typed, self.conf)
            return Cell(key, typed, {}, {}, self.folder / "jobs" / key)


def cell_of(folder: Path, cfg: DictConfig, choices: dict[str, Any], typed: Sequence[str]) -> Cell:
    """Return the job of a composed configuration. Raises DiffexpError for data or a checkpoint that is not
    there, OmegaConf's errors for interpolations that lead nowhere.
    """
    if cfg.get("init"):
        from diffexp.tasks.like_base import like_base  # which needs torch

        choices = like_base(cfg, typed, {k: v for k, v in choices.items() if v})
    cfg.dir = "."  # what is computed does not depend on where
    config = OmegaConf.to_container(cfg, resolve=True)
    key = identity(config)  # type: ignore[arg-type]
    place = folder / "jobs" / key
    cfg.dir = str(place)
    config = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(config, dict)
    if isinstance(logger := config.get("logger"), dict) and "group" in logger:  # type: ignore[union-attr]
        logger["group"] = logger["group"] or f"{config['name']}/{folder.name}"  # type: ignore[index]
    chosen = {k: v for k, v in choices.items() if v}
    return Cell(key, tuple(typed), config, chosen, place)  # type: ignore[arg-type]


def _explained(error: Exception, typed: Sequence[str], conf: Path) -> DiffexpError:
    """Put an error in the words of the command line. It composes, and Hydra has one state for the process."""
    if isinstance(error, DiffexpError):
        return error
    if not isinstance(error, (HydraException, OmegaConfBaseException)):
        return DiffexpError(f"{type(error).__name__}: {error}")
    from diffexp.config.hydra_errors import explain

    held = GlobalHydra.instance().hydra
    try:
        return explain(error, typed, conf)
    finally:
        GlobalHydra.instance().hydra = held
