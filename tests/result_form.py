"""Whether a value has the form that result.schema.json says: the part of JSON Schema that it uses."""

import json
import re
from pathlib import Path

from diffexp.run import result

SCHEMA = json.loads(Path(result.__file__).with_name("result.schema.json").read_text())
KINDS = {
    "object": dict, "array": list, "string": str, "integer": int, "number": (int, float),
    "null": type(None), "boolean": bool,
}  # fmt: skip
KNOWN = {
    "$schema", "$id", "title", "description", "type", "required", "properties", "additionalProperties",
    "items", "enum", "const", "pattern", "minimum", "maximum",
}  # fmt: skip


def faults(value, form=SCHEMA, at="result"):
    """Yield a line for each place that is not of its form."""
    assert set(form) <= KNOWN, f"{at}: {set(form) - KNOWN} is not understood here"
    kinds = form.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    of_kind = any(isinstance(value, KINDS[k]) and (k == "boolean" or value is not True) for k in kinds)
    if kinds and not of_kind:
        yield f"{at}: {value!r} is not {kinds}"
        return
    if ("enum" in form and value not in form["enum"]) or ("const" in form and value != form["const"]):
        yield f"{at}: {value!r} is not {form.get('enum', form.get('const'))}"
    if isinstance(value, str) and not re.search(form.get("pattern", ""), value):
        yield f"{at}: {value!r} is not {form['pattern']}"
    if isinstance(value, (int, float)) and not form.get("minimum", value) <= value <= form.get(
        "maximum", value
    ):
        yield f"{at}: {value} is out of its range"
    for name in form.get("required", ()) if isinstance(value, dict) else ():
        if name not in value:
            yield f"{at}.{name} is missing"
    if isinstance(value, list):
        for k, item in enumerate(value):
            yield from faults(item, form.get("items", {}), f"{at}[{k}]")
    if isinstance(value, dict):
        for name, item in value.items():
            own = form.get("properties", {}).get(name, form.get("additionalProperties", {}))
            if own is False:
                yield f"{at}.{name} is not known"
            elif own is not True:
                yield from faults(item, own, f"{at}.{name}")


def no_constant(name):
    raise ValueError(f"{name} is not of JSON")


def read_result(folder):
    """result.json of a run, as a strict reader takes it, and of the form that is documented."""
    value = json.loads((folder / "result.json").read_text(), parse_constant=no_constant)
    assert list(faults(value)) == [], list(faults(value))[:5]
    assert set(value) == set(SCHEMA["properties"])
    return value
