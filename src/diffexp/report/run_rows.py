"""Runs, and cells of sweeps, as rows of values by key: what was typed and composed, what was measured, how
it has ended. The files may be a stranger's: links are not followed, nothing is loaded, secrets are left out.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from diffexp.config.untrusted import read_yaml
from diffexp.errors import DataError, DiffexpError
from diffexp.escape import first_line
from diffexp.files import read_json
from diffexp.locks import busy
from diffexp.redact import redact, redact_text
from diffexp.report.table import read
from diffexp.report.where import value_of
from diffexp.run.below import below
from diffexp.run.result import metrics
from diffexp.run.results import LOCK, PLAN, moderate, refuse_links

METRICS, UNREAD = "metrics.", "config.error"
_STOPPED = ("Interrupted", "KeyboardInterrupt", "SystemExit")


def rows_in(folders: Sequence[Path]) -> list[dict[str, Any]]:
    """Return a row for each run and each cell of a sweep in the folders. Raises DataError for a folder that
    is not there, or holds none.
    """
    rows = list[dict[str, Any]]()
    for folder in folders:
        there = list(below(folder))
        if not there:
            do = "give folders of runs, of sweeps, or one in which such lie (links are not followed)"
            raise DataError("there is no run and no sweep in here", str(folder), do)
        for place in there:
            rows += _sweep(place) if (place / PLAN).is_file() else [_run(place)]
    return list({row["folder"]: row for row in rows}.values())


def _run(folder: Path) -> dict[str, Any]:
    try:
        refuse_links(folder / "run.json", folder / "config.yaml")
        record = read_json(folder / "run.json")
        if not moderate(record) or not isinstance(record.get("state"), str):
            raise DataError("this run.json is none of ours", str(folder / "run.json"))
        return _row(folder, record, *_ended(folder, record["state"]))
    except (DiffexpError, OSError, ValueError) as error:
        return {"folder": str(folder), "status": "damaged", "error": first_line(redact_text(str(error)))}


def _ended(folder: Path, state: str) -> tuple[str, str | None]:
    """Return how a run has ended, in the words of result.json, and why."""
    if state == "running":
        return "running" if busy(folder / LOCK) else "interrupted", None
    if state == "done":
        return "done", None
    return "stopped" if state.partition(":")[0] in _STOPPED else "failed", state


def _sweep(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield a row for each cell of the plan."""
    try:
        refuse_links(folder / PLAN, folder / "jobs")
        cells = read(folder).cells
    except DiffexpError as error:
        yield {"folder": str(folder), "status": "damaged", "error": first_line(str(error))}
        return
    for cell, row in cells:
        typed = {key: None if v is None else value_of(redact_text(v)) for key, v in cell["values"].items()}
        ended = ("to do", None) if row is None else (row["state"], row.get("error"))
        yield typed | _row(folder / cell["folder"], row or {}, *ended) | {"sweep": str(folder)}


def _row(folder: Path, record: Mapping[str, Any], status: str, error: str | None) -> dict[str, Any]:
    config, results = _config(folder, there=status not in ("to do", "failed")), record.get("results")
    results = results if isinstance(results, Mapping) and _cards(results) else {}
    row = {
        "folder": str(folder),
        "status": status,
        "error": None if error is None else first_line(redact_text(error)),
        "started": record.get("started") if isinstance(record.get("started"), str) else None,
        "seconds": _plain(record.get("seconds")),
    }
    measured = metrics(results)
    for name, metric in measured.items():
        row[METRICS + name] = metric["value"]
        row |= {f"{METRICS}{name}.{key}": _plain(metric[key]) for key in ("standard_error", "n")}
    rest = {key: value for key, value in results.items() if key not in measured and key != "cards"}
    return config | dict(_flat(redact(rest), "results")) | row


def _cards(results: Mapping[str, Any]) -> bool:
    cards = results.get("cards") or {}
    return isinstance(cards, Mapping) and all(isinstance(card, Mapping) for card in cards.values())


def _config(folder: Path, there: bool) -> dict[str, Any]:
    """Return what a run was composed of: the chosen option of each group by its name, and every value by its
    key; why not, under UNREAD, where that cannot be read. there: whether it must be there.
    """
    try:
        refuse_links(folder / "config.yaml")
        config = read_yaml(folder / "config.yaml")
        if not isinstance(config, Mapping) or not moderate(config):
            raise DataError("this config.yaml is none of ours", str(folder))
    except (DiffexpError, OSError) as error:
        missing = isinstance(error, FileNotFoundError) and not there
        return {} if missing else {UNREAD: first_line(redact_text(str(error)))}
    values = redact({str(key): value for key, value in config.items() if key != "choices"})
    choices = config.get("choices")
    chosen = choices if isinstance(choices, Mapping) else {}
    return dict(_flat(values)) | {str(k): _plain(v) for k, v in chosen.items()}


def unseen(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a sentence for each kind of rows of which a filter sees less than there should be."""
    kinds = {
        "damaged, and lack all but folder, status and error": [r for r in rows if r["status"] == "damaged"],
        "without a configuration that can be read": [r for r in rows if r.get(UNREAD)],
        "still running, and have measured nothing yet": [
            r for r in rows if r["status"] == "running" and not any(key.startswith(METRICS) for key in r)
        ],
    }  # fmt: skip
    return [
        f"{len(some)} of {len(rows)} runs are {what}: {some[0]['folder']}{' and others' * (len(some) > 1)}"
        for what, some in kinds.items()
        if some
    ]


def _flat(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield from _flat(value, f"{path}.{key}" if path else str(key))
    elif path:
        yield path, _plain(node)


def _plain(value: Any) -> Any:
    """Return null, true, false, a number or a text; a list as its text in JSON."""
    if isinstance(value, (list, tuple)):
        return json.dumps(value, default=str)
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)
