"""metrics.csv: the values of a run as one table, for pandas or a spreadsheet."""

import csv
import io
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from diffexp.files import descriptor_to_append, json_rows, lines, write
from diffexp.training.tracker import OneRun, TrackedRun


class Csv(OneRun):
    """metrics.csv of the run folder: a column for each key, a row for each step."""

    words = "metrics.csv"

    def begin(
        self, folder: Path, name: str, kind: str, tags: Sequence[str], config: Mapping[str, Any]
    ) -> TrackedRun:
        return CsvRun(folder / "metrics.csv")


class CsvRun(TrackedRun):
    """A table that is whole after each call: the row of a step is written again when it gets more values, and
    the table when it gets a column. What was not measured at a step is empty.
    """

    def __init__(self, path: Path) -> None:
        self.path, self._columns, self._row = path, list[str](), dict[str, str]()
        self._at = 0  # where the last row begins, in bytes

    def log(self, values: Mapping[str, float], step: int | None = None) -> None:
        texts = {k: repr(float(v)) for k, v in values.items() if k != "epoch"}
        if not texts:
            return
        at = "" if step is None else str(step)
        same = bool(self._row) and self._row["step"] == at
        self._row = (self._row if same else {"step": at}) | texts
        if new := [key for key in self._row if key not in self._columns]:
            before = _rows(self.path) if self._columns else []  # else the table is of a job before
            self._columns += new
            self._all([*before[: -1 if same else None], self._row])
        else:
            self._append(_lines([self._row], self._columns), self._at if same else None)

    def summary(self, values: Mapping[str, float], cards: Mapping[str, Any]) -> None:
        """Write the numbers as the row of a run that has no steps; a training has logged them as final/..."""
        if not self._row:
            self.log(values)

    def cut(self, step: int) -> None:
        """Make the table anew from metrics.jsonl, which was cut at that step."""
        rows = dict[str, dict[str, str]]()
        for line in json_rows(self.path.with_name("metrics.jsonl")):
            at = "" if line.get("step") is None else str(line["step"])
            values = {k: "nan" if v is None else repr(v) for k, v in line.items() if k != "seconds"}
            rows.setdefault(at, {}).update(values | {"step": at})
        self._columns = list(dict.fromkeys(key for row in rows.values() for key in row))
        self._row = {}
        if rows:
            self._all(rows.values())

    def look(self) -> Sequence[tuple[str, Path]]:
        return [("table:", self.path)] if self.path.exists() else []

    def _all(self, rows: Iterable[Mapping[str, str]]) -> None:
        *head, last = _lines([None, *rows], self._columns)
        write(self.path, "".join([*head, last]))
        self._at = sum(len(text.encode()) for text in head)

    def _append(self, texts: Sequence[str], at: int | None) -> None:
        number = descriptor_to_append(self.path)
        try:
            self._at = os.fstat(number).st_size if at is None else at
            os.ftruncate(number, self._at)
            data = "".join(texts).encode()
            while data:
                data = data[os.write(number, data) :]
        except OSError:  # half a row would spoil the next
            os.ftruncate(number, self._at)
            raise
        finally:
            os.close(number)


def _lines(rows: Iterable[Mapping[str, str] | None], columns: Sequence[str]) -> list[str]:
    """Return the rows as lines; None stands for the names of the columns."""
    made = []
    for row in rows:
        text = io.StringIO(newline="")
        csv.writer(text, lineterminator="\n").writerow(
            columns if row is None else [row.get(key, "") for key in columns]
        )
        made.append(text.getvalue())
    return made


def _rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(lines(path))) if path.exists() else []
