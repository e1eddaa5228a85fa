"""Read plan.json: judged whole, for it may be a stranger's, and refused where we write no such."""

from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from diffexp.errors import DataError
from diffexp.files import read_json
from diffexp.run.results import PLAN, is_number, moderate


def read_plan(folder: Path) -> dict[str, Any]:
    """Return plan.json of a sweep: name, command, layout, varying and cells. Raises DataError."""
    path = folder / PLAN
    if not path.is_file():
        do = "give the folder of a sweep: task=report dir=FOLDER, or task.sweeps=[A,B]"
        raise DataError(f"there is no {PLAN} in {folder}", str(path), do)
    try:
        plan = read_json(path)
    except OSError as error:
        raise DataError(f"it cannot be read: {error.strerror}", str(path), "make it readable") from error
    if wrong := fault(plan):
        do = "type the command of the sweep again, which writes it anew"
        raise DataError(f"{wrong[0]} is not {wrong[1]}", f"{path}: {wrong[0]}", do)
    cells = dict[str, dict[str, Any]]()
    for cell in plan["cells"]:
        cells.setdefault(cell["id"], cell)  # earlier versions wrote a line that was typed twice as two
    return plan | {"cells": list(cells.values())}


def fault(plan: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return the first key that is not as we write it, and what it has to be; None for a sound plan."""
    return next(((key, wanted) for key, wanted, sound in _judged(plan) if not sound), None)


def _judged(plan: Mapping[str, Any]) -> Iterator[tuple[str, str, bool]]:
    """Yield (key, what it has to be, whether it is) for each key of a plan; later ones need earlier ones."""
    yield "the plan", "nested less than 20 deep, with numbers below 1e300", moderate(plan)
    for key in ("name", "command"):
        yield key, "a text", isinstance(plan.get(key), str)
    layout = plan.get("layout")
    yield "layout", "an object", isinstance(layout, Mapping)
    assert isinstance(layout, Mapping)
    for key in ("rows", "columns"):
        yield f"layout.{key}", "a key or a list of keys", _keys(layout.get(key))
    yield "layout.metric", "a text", isinstance(layout.get("metric"), (str, type(None)))
    yield "layout.published", "{data: text, values: {text: number}}", _published(layout.get("published"))
    varying = plan.get("varying")
    wanted = "an object with a list of texts for each key"
    yield "varying", wanted, isinstance(varying, Mapping) and all(map(_texts, varying.values()))
    cells = plan.get("cells")
    yield "cells", "a list of objects", _all_of(cells, Mapping)
    assert isinstance(varying, Mapping) and isinstance(cells, list)
    for i, cell in enumerate(cells):
        at, values = f"cells[{i}]", cell.get("values")
        yield f"{at}.id", "a text", isinstance(cell.get("id"), str) and bool(cell["id"])
        yield f"{at}.typed", "a list of texts", _texts(cell.get("typed"))
        wanted = "an object with a text for each key of `varying`"
        yield f"{at}.values", wanted, _values(values) and set(values) >= set(varying)
        yield f"{at}.folder", "a folder inside of the sweep", _inside(cell.get("folder"))


def _all_of(value: object, kind: Any) -> bool:
    return isinstance(value, list) and all(isinstance(v, kind) for v in value)


def _texts(value: object) -> bool:
    return _all_of(value, str)


def _values(value: object) -> bool:
    return isinstance(value, Mapping) and all(isinstance(v, (str, type(None))) for v in value.values())


def _keys(value: object) -> bool:
    return isinstance(value, (str, type(None))) or _texts(value)


def _published(table: object) -> bool:
    if not table:
        return True
    values = table.get("values") if isinstance(table, Mapping) else None
    known = isinstance(table, Mapping) and isinstance(table.get("data"), str)
    return known and isinstance(values, Mapping) and all(map(is_number, values.values()))


def _inside(folder: object) -> bool:
    """Return whether it names a folder below that of the sweep, on any system."""
    if not isinstance(folder, str) or "\0" in folder or "\\" in folder:
        return False
    path = PurePosixPath(folder)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts
