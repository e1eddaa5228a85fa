"""The reference of all groups, options and keys, as Markdown, of the comments in conf/.

    python tools/options.py

The first comment of each file is what the option is; behind a key stands what the key is. What a group is
says the comment behind its default in conf/config.yaml.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

CONF = Path(__file__).parents[1] / "conf"
TOP = """# Options and keys

An option is chosen by the name of its group, a key is set by its path:

    python run.py sampler=heun sampler.steps=12

Below are the files of `conf/`: each key with its value, and behind it what it means. A file with `defaults`
has the keys of those that it names as well. `python run.py --cfg job` shows what a command line makes
of all of them, and `python tools/options.py` prints this page.
"""


class Option(NamedTuple):
    """A file of conf/: `about` is its first comment, `keys` the rest."""

    name: str
    about: str
    keys: str
    everywhere: bool  # its keys are typed without the name of the group


def option(file: Path) -> Option:
    """Return what a file says. Raises ValueError for one that does not begin with a comment."""
    lines = file.read_text().splitlines()
    everywhere = any(line.startswith("# @package _global_") for line in lines)
    lines = [line for line in lines if not line.startswith("# @package")]
    end = next((i for i, line in enumerate(lines) if not line.startswith("#")), len(lines))
    if not end:
        raise ValueError(f"{file} does not begin with a comment that says what it is")
    about = "\n".join(line.removeprefix("#").removeprefix(" ") for line in lines[:end])
    return Option(file.stem, about, "\n".join(lines[end:]).strip(), everywhere)


def groups(conf: Path = CONF) -> Iterator[tuple[str, str, list[Path]]]:
    """Yield each group of conf/, as config.yaml has them, and then those of an option: its name, what
    it is, the files of its options.
    """
    listed = (conf / "config.yaml").read_text().partition("defaults:\n")[2].partition("\n\n")[0]
    of_options = "".join(file.read_text() for file in sorted(conf.glob("*/*.yaml")))
    named = dict(re.findall(r"^  - (?:override )?([\w/]+): \w+ # (.*)$", listed, re.MULTILINE))
    named |= dict(re.findall(r"^  - /(\w+)(?:@_global_\.\1)?: \w+ # (.*)$", of_options, re.MULTILINE))
    for name, about in named.items():
        yield name, about, sorted((conf / name).glob("*.yaml"))


def page(conf: Path = CONF) -> str:
    """Return the whole page."""
    parts = [_single(conf), *(_group(conf, *group) for group in groups(conf))]
    return "\n".join([TOP, *(line for part in parts for line in part)])


def _single(conf: Path) -> Iterator[str]:
    """Yield the keys of config.yaml that are in no group."""
    text = (conf / "config.yaml").read_text().partition("defaults:\n")[2].partition("\n\n")[2]
    yield "## Single keys\n\n| key | default | what it is |\n|---|---|---|"
    for key, value, about in re.findall(r"^(\w+): ([^#\s].*?)(?: # (.*))?$", text, re.MULTILINE):
        yield f"| `{key}` | `{value}` | {_plain(about)} |"
    for block in re.findall(r"^\w+:(?: #.*)?\n(?:[ ].*\n?)+", text, re.MULTILINE):
        if not block.startswith("hydra:"):
            yield f"\n### {block.partition(':')[0]}\n\n```yaml\n{block.strip()}\n```"


def _group(conf: Path, name: str, about: str, files: list[Path]) -> Iterator[str]:
    yield f"\n## {name}\n\n{_plain(about[0].upper() + about[1:])}.\n"
    options, texts = [option(file) for file in files], [file.read_text() for file in files]
    if not any(one.everywhere for one in options):
        yield f"Keys are typed as `{name.replace('/', '.')}.KEY=VALUE`.\n"
    for shared in sorted(conf.glob("_*.yaml")):
        if any(f"/{shared.stem}@" in text for text in texts):
            inherited = option(shared)
            yield f"`{shared.name}`: {_paragraphs(inherited.about)}\n\n```yaml\n{inherited.keys}\n```\n"
    for one in options:
        yield f"### {name}={one.name}\n\n{_paragraphs(one.about)}\n"
        for target in re.findall(r"^(?:  )?_target_: (diffexp\.[\w.]+)$", one.keys, re.MULTILINE)[:1]:
            yield f"[`{target}`][{_defined(target)}]\n"
        if one.keys:
            yield f"```yaml\n{one.keys}\n```\n"


def _defined(target: str) -> str:
    """Return the full name of what a room offers, as diffexp.samplers.ddim.DDIM of diffexp.samplers.DDIM."""
    room, name = target.rsplit(".", 1)
    for file in sorted((CONF.parent / "src").joinpath(*room.split(".")).glob("*.py")):
        if re.search(rf"^(?:class|def) {name}\b", file.read_text(), re.MULTILINE):
            return f"{room}.{file.stem}.{name}"
    return target


def _paragraphs(about: str) -> str:
    """Return a comment as Markdown: its lines that are indented are commands."""
    lines = list[str]()
    for line in about.splitlines():
        command = line.startswith("  ")
        if lines and command != lines[-1].startswith("    "):
            lines.append("")
        lines.append(f"    {line.strip()}" if command else _plain(line))
    return "\n".join(lines)


def _plain(text: str) -> str:
    """Return text that is not taken for markup, but for what is between backticks."""
    pieces = re.split(r"(`[^`]*`)", text)
    pieces[::2] = [re.sub(r"([*_\[\]])", r"\\\1", piece).replace("<", "&lt;") for piece in pieces[::2]]
    return "".join(pieces)


if __name__ == "__main__":
    print(page())
