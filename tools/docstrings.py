"""Docstrings as Markdown, for the site: they are plain text, with `code` and formulas as indented blocks.

An extension of griffe, which mkdocs.yml names. It marks the names of parameters and fields and what is
raised, and leaves no letter to be taken for markup.
"""

import re
from typing import Any

import griffe

ERRORS = {"DiffexpError", "ConfigError", "DataError", "DivergedError", "ResourceError"}


class PlainText(griffe.Extension):
    """Every docstring becomes Markdown as it is loaded."""

    def on_object(self, *, obj: griffe.Object, loader: griffe.GriffeLoader, **kwargs: Any) -> None:
        """Replace the docstring of an object."""
        if obj.docstring:
            obj.docstring.value = markdown(obj.docstring.value, described(obj))


def described(obj: griffe.Object) -> set[str]:
    """Return the names that a docstring may describe: parameters of a function, fields of a class."""
    if isinstance(obj, griffe.Function):
        return {parameter.name for parameter in obj.parameters}
    if isinstance(obj, griffe.Class):
        fields = {name for name, member in obj.members.items() if member.is_attribute}
        return fields | {parameter.name for parameter in obj.parameters} - {"self"}
    return set()


def markdown(text: str, names: set[str]) -> str:
    """Return text as Markdown; a line that begins with a name after the end of a sentence is a paragraph."""
    lines = list[str]()
    for line in text.splitlines():
        begins = re.match(r"(\w+)(, \w+)*: ", line)
        if begins and begins[1] in names and lines and lines[-1].endswith("."):
            lines.append("")
        lines.append(line if line.startswith("    ") else _line(line, names))
    return "\n".join(lines)


def _line(line: str, names: set[str]) -> str:
    pieces = re.split(r"(`[^`]+`)", line)
    pieces[::2] = [_words(piece, names) for piece in pieces[::2]]
    return "".join(pieces)


def _link(error: re.Match[str]) -> str:
    """Return a link to an error of ours."""
    return f"[{error[1]}][diffexp.errors.{error[1]}]" if error[1] in ERRORS else error[1]


def _words(text: str, names: set[str]) -> str:
    text = re.sub(r"([*_\[\]#\\])", r"\\\1", text.replace("<", "&lt;"))
    text = re.sub(r"\b(\w+Error)\b", _link, text)
    text = re.sub(r"\b(Raises?) (?=(?:a |an )?\[?\w+(?:Error|ed)\b)", r"**\1** ", text)
    listed = "|".join(re.escape(name.replace("_", "\\_")) for name in sorted(names, key=len, reverse=True))
    described = rf"(^|[;.,] )({listed})(?=(?:, [\w\\]+)*:(?: |$))"
    return re.sub(described, r"\1**\2**", text) if names else text
