"""The class and the captions of a record, of the columns that were typed: a column is a member of a sample
or a key of its JSON, or a column of a table.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from diffexp.config.suggest import nearest
from diffexp.errors import DataError

LABELS, TEXTS = ("cls", "label", "labels"), ("txt", "text", "caption", "captions")
"""What is looked for where the person leaves it to us, in this order."""


def first_of(names: Sequence[str], there: Sequence[str]) -> str:
    """Return the first of the names that is there, else none."""
    return next((name for name in names if name in there), "none")


def absent(name: str, there: Sequence[str], key: str, where: str) -> DataError:
    """Return the error for a column that is not there. key: where it was typed; where: of which file."""
    names = sorted(set(there))
    some = ", ".join(column[:50] for column in names[:20]) or "nothing"
    none = "" if key == "data.image" else f"{key}=none"
    do = f"type {key}={near}" if (near := nearest(name, names)) else "type one of these"
    do += f", or {none}" if none else ""
    if not names:  # as of a sample whose members do not follow one another
        do = "mend it: what belongs to one picture has to stand together, with it"
        do += f", or type {none}" if none else ""
    return DataError(f"there is no column {name[:50]} in {where}, but {some}", key, do)


def label_of(values: Mapping[str, Any], name: str, where: str) -> str:
    """Return the class of a record. Raises DataError for a value that is none."""
    value = _value(values, name, "data.label", where)
    if isinstance(value, bool) or not isinstance(value, (str, int)) or value == "":
        what = f"{name} is {_kind(value)}, and no class"
        raise DataError(what, where, "type the column of the class, or data.label=none")
    return str(value).strip() if isinstance(value, str) else str(value)


def texts_of_record(values: Mapping[str, Any], name: str, where: str) -> list[str]:
    """Return the captions of a record, one or several. Raises DataError for a value that is no text."""
    value = _value(values, name, "data.text", where)
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        what = f"{name} is {_kind(value)}, and no text"
        raise DataError(what, where, "type the column of the captions, or data.text=none")
    return texts


def _value(values: Mapping[str, Any], name: str, key: str, where: str) -> Any:
    if name not in values:
        raise absent(name, list(values), key, where)
    return values[name]


def _kind(value: Any) -> str:
    if value is None or value in ("", []):
        return "empty"
    kinds = {bool: "true or false", int: "a number", float: "a number", list: "a list", dict: "an object"}
    return kinds.get(type(value), type(value).__name__)
