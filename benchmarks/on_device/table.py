"""The results as a page in Markdown: a row for each measurement."""

from typing import Any

Row = dict[str, Any]


def _cell(value: object) -> str:
    if value is None:
        return "—"
    if not isinstance(value, float):
        return str(value)
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _share(value: float | None) -> str:
    return "—" if value is None else f"{100 * value:.1f} %"


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return ["", *(f"| {' | '.join(line)} |" for line in lines)]


def _training(rows: list[Row]) -> list[str]:
    head = ["training", "batch", "img/s", "× diffusers", "TFLOP/s", "of the peak", "peak GB", "first step, s"]
    keys = ("name", "batch", "img_per_s", "ratio", "tflops", "share_of_peak", "memory_gb", "first_step_s")
    return _table(head, [[_share(r[k]) if k == "share_of_peak" else _cell(r[k]) for k in keys] for r in rows])


def _sampling(rows: list[Row]) -> list[str]:
    head = ["sampling by DDIM", "batch", "steps", "img/s", "× diffusers", "first batch, s", "images off by"]
    keys = ("name", "batch", "steps", "img_per_s", "ratio", "first_s", "difference")
    return _table(head, [[_cell(r[k]) for k in keys] for r in rows])


def _overhead(rows: list[Row]) -> list[str]:
    head = ["a step without the network", "batch", "µs", "× diffusers"]
    return _table(head, [[_cell(r[k]) for k in ("name", "batch", "us", "ratio")] for r in rows])


def _quality(part: Row) -> list[str]:
    trained, card = part["training"], part["card"]
    rows = {
        part["metric"]: part["value"],
        "its standard error": card.get("standard_error"),
        f"that of {card['floor_n']} real images": card["floor"],
        "images drawn": part["n"],
        "network calls for each": part["nfe"],
        "images of the reference": part["n_reference"],
        "steps of training": trained["steps"],
        "seconds of training": trained["seconds"],
        "img/s, compiling counted in": trained["img_per_s"],
        "recipe": " ".join(f"{k}={v}" for k, v in part["recipe"].items()),
    }
    return _table([f"trained on {part['data']}", ""], [[name, _cell(v)] for name, v in rows.items()])


def markdown(results: Row) -> str:
    """Return the page of the results so far."""
    lines = ["# On this device", "", "| | |", "|---|---|"]
    lines += [f"| {name} | {_cell(value)} |" for name, value in results["card"].items()]
    for key, part in (("training", _training), ("sampling", _sampling), ("overhead", _overhead)):
        if results.get(key):
            lines += part(results[key])
    if results.get("quality"):
        lines += _quality(results["quality"])
    if results["notes"]:
        lines += ["", *(f"- {note}" for note in results["notes"])]
    return "\n".join(lines) + "\n"
