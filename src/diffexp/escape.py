"""Escape text of others where it would be more than text: in HTML, in Markdown, in a CSV file, on a terminal.

Names, values and messages of a sweep may be a stranger's. Whatever writes one asks a function here first.
"""

import html
import re

from rich.text import Text

from diffexp.errors import printable

_NUMBER = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)(e[-+]?\d+)?|[-+]?inf|nan", re.ASCII | re.IGNORECASE)
_FORMULA = tuple("=+-@＝＋－＠")  # a field that begins so is computed by a spreadsheet


def _safe(text: object) -> str:
    plain_text = str(text)
    return plain_text if plain_text.isprintable() else printable(plain_text)  # which looks at each letter


def line(text: object) -> str:
    """Return all of it on one line that does nothing to a terminal."""
    return re.sub(r"[\n\t]+", " ", _safe(text)).strip()


def first_line(text: object) -> str:
    """Return the first line that is not empty, as `line` does; "" for none."""
    return line(str(text).strip().partition("\n")[0])


def markup(text: object) -> str:
    """Return HTML that shows the text, also between the quotes of an attribute."""
    return html.escape(_safe(text))


def markdown_cell(text: object) -> str:
    """Return Markdown that shows the text on one line of a table: no cell, tag, code, link or picture."""
    return re.sub(r"\\|\||`|<|(?<=\])\(", lambda match: f"\\{match[0]}", line(text))


def csv_field(value: object) -> object:
    """Return numbers as they are, and text that no spreadsheet computes: an apostrophe comes before that."""
    if value is None or isinstance(value, (bool, int, float)):
        return value
    text = line(value)
    return f"'{text}" if text.startswith(_FORMULA) and not is_number(text) else text


def is_number(text: str) -> bool:
    """Return whether all of the text is a decimal number, as a spreadsheet reads one."""
    return _NUMBER.fullmatch(text) is not None


def plain(text: object) -> Text:
    """Return text for rich's tables, which would take [/b] and :warning: for markup in a str."""
    return Text(_safe(text))
