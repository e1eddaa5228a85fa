"""What the trainings of a sweep have cost, where they had a budget (training/spending.py)."""

from collections.abc import Iterable, Mapping
from typing import Any

from diffexp.escape import markdown_cell
from diffexp.report.labels import short
from diffexp.run.results import is_number

COSTS = ("ended_by", "steps", "seconds", "flops")
"""In the order of the columns."""


def budget(row: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return COSTS of a row, None for a number that is not there; {} for a row without a budget."""
    cost = ((row or {}).get("results") or {}).get("budget")
    if not isinstance(cost, Mapping):
        return {}
    numbers = {key: v if is_number(v := cost.get(key)) else None for key in COSTS[1:]}
    return {"ended_by": str(cost.get("ended_by"))[:40]} | numbers


def costs(
    plan: Mapping[str, Any], cells: Iterable[tuple[Mapping[str, Any], Mapping[str, Any] | None]]
) -> str:
    """Return a table in Markdown of what each training with a budget has cost; "" where none had one."""
    keys, lines = list(plan["varying"]), list[str]()
    for cell, row in cells:
        if cost := budget(row):
            name = " ".join(short(k, cell["values"][k], len(keys)) for k in keys) or cell["id"]
            texts = [markdown_cell(cost["ended_by"])]
            texts += ["" if cost[k] is None else f"{cost[k]:.4g}" for k in COSTS[1:]]
            lines.append(f"| {markdown_cell(name)} | {' | '.join(texts)} |")
    heads = "| budget | ended by | steps | seconds of training | FLOPs |\n|---|---|---|---|---|"
    return "\n".join([heads, *lines]) if lines else ""
