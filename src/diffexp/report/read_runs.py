"""Read what folders of runs, cells and sweeps have measured, as variants to compare."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from diffexp.config.untrusted import read_yaml
from diffexp.errors import DataError
from diffexp.escape import first_line
from diffexp.files import read_json
from diffexp.locks import busy
from diffexp.report.compared import Measured, Variant, variants
from diffexp.report.table import numbers, read
from diffexp.run.results import LOCK, PLAN, moderate, refuse_links

_ASIDE = ("dir", "name", "logger", "data_root", "dry_run", "resume", "sweep", "choices", "seed")


def read_variants(folders: Sequence[Path]) -> list[Variant]:
    """Return what lies in the folders; runs of one configuration with different seeds are one variant. Raises
    DataError for a folder that is neither a run nor a sweep, or has measured nothing.
    """
    several = sum((folder / PLAN).is_file() for folder in folders) > 1
    out, runs = list[Variant](), dict[str, list[Measured]]()
    for folder in dict.fromkeys(folders):
        if (folder / PLAN).is_file():
            of_sweep = variants(read(folder)).values()
            if not of_sweep:
                raise DataError("no job of this sweep is done", str(folder), "run it first")
            begin = f"{folder.name} " if several or len(folders) > 1 else ""
            out += [Variant(begin + v.name, v.runs) for v in of_sweep]
        else:
            run, same = _run(folder), _identity(folder)
            while any(other.seed == run.seed for other in runs.get(same, ())):
                same += "+"  # the same once more, which is no other seed
            runs.setdefault(same, []).append(run)
    names = names_of([same[0].folder for same in runs.values()])
    for name, same in zip(names, runs.values(), strict=True):
        out.append(Variant(name, tuple(same)))
    return out


def _run(folder: Path) -> Measured:
    """Read run.json of a run, or of a cell. Raises DataError."""
    refuse_links(folder / "run.json")
    if not (folder / "run.json").is_file():
        do = "give the folder of a run, of a cell (SWEEP/jobs/ID), or of a sweep"
        raise DataError("there is no run.json and no plan.json here", str(folder), do)
    try:
        record = read_json(folder / "run.json")
    except OSError as error:
        raise DataError(f"it cannot be read: {error.strerror}", str(folder), "make it readable") from error
    results = record.get("results")
    if not moderate(record) or not isinstance(results, Mapping) or not _cards(results):
        raise DataError("this run.json is none of ours", str(folder / "run.json"), "name another run")
    if not numbers(record):
        how = _ended(folder, record)
        do = "measure it: task=evaluate task.ckpt=RUN" if not how else "go on with it: resume=RUN"
        raise DataError(f"this run has measured nothing{how and f', and {how}'}", str(folder), do)
    return Measured(record.get("seed"), record, folder)


def unfinished(folders: Sequence[Path]) -> list[str]:
    """Return a sentence for each run that has not ended well, and for each sweep with jobs that are not done:
    what is compared is what there is. Raises DataError.
    """
    lines = list[str]()
    for folder in dict.fromkeys(folders):
        if (folder / PLAN).is_file():
            cells = read(folder).cells
            done = sum(row is not None and row["state"] == "done" for _, row in cells)
            failed = sum(row is not None and row["state"] == "failed" for _, row in cells)
            if done < len(cells):
                left = [f"{failed} failed"] * bool(failed)
                left += [f"{len(cells) - done - failed} not done yet"] * (done + failed < len(cells))
                lines.append(f"of the {len(cells)} jobs of {folder} {' and '.join(left)}: left out")
        elif how := _ended(folder, read_json(folder / "run.json")):
            lines.append(f"{folder} {how}: its numbers are of before")
    return lines


def _ended(folder: Path, record: Mapping[str, Any]) -> str:
    """Return how a run has ended, or not; "" where it is done."""
    state = str(record.get("state", "done"))
    if state == "running":
        return "is still running" if busy(folder / LOCK) else "was interrupted"
    return "" if state == "done" else f"has failed ({first_line(state)[:100]})"


def _cards(results: Mapping[str, Any]) -> bool:
    cards = results.get("cards") or {}
    return isinstance(cards, Mapping) and all(isinstance(card, Mapping) for card in cards.values())


def _identity(folder: Path) -> str:
    """Return the configuration of a run without its seeds and its own folder; its path where that cannot be
    read.
    """
    try:
        config = read_yaml(folder / "config.yaml")
        kept = {k: v for k, v in config.items() if k not in _ASIDE}
        return json.dumps(_without_seeds(kept, f"{config.get('dir')}/"), sort_keys=True)
    except (DataError, OSError, ValueError, AttributeError, TypeError, RecursionError):
        return str(folder.resolve())


def _without_seeds(node: Any, own: str) -> Any:
    """Return a node without seeds and without the run's own folder, which `own` is: of its checkpoints."""
    if isinstance(node, Mapping):
        return {str(k): _without_seeds(v, own) for k, v in node.items() if k != "seed"}
    if isinstance(node, str):
        return node.removeprefix(own)
    return [_without_seeds(v, own) for v in node] if isinstance(node, list) else node


def names_of(folders: Sequence[Path]) -> list[str]:
    """Return the paths without what all have in common; the last part of each where there is one."""
    paths = [os.path.abspath(folder) for folder in folders]
    if len(paths) < 2:
        return [os.path.basename(path) for path in paths]
    common = os.path.commonpath(paths)
    return [os.path.relpath(path, common) for path in paths]
