"""README and docs/: short, every command line can be typed, every option says what it is."""

import importlib.util
import re
import runpy
import shlex
import subprocess
import sys
import tomllib

import pytest
from commands import CONF
from typed import ROOT, check, commands

README = (ROOT / "README.md").read_text()
OPTIONS = runpy.run_path(str(ROOT / "tools" / "options.py"))
FILES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGES = {file.relative_to(ROOT).as_posix(): file.read_text() for file in FILES}
PAGES["options"] = OPTIONS["page"]()


@pytest.mark.parametrize("page", PAGES)
def test_every_command_line_can_be_typed(page):
    wrong = {}
    for line in commands(PAGES[page]):
        if "my_package" in line or "my_conf" in line:
            continue  # these are answered in tests/plugins
        try:
            check(line)
        except Exception as error:
            wrong[line] = f"{type(error).__name__}: {error}"
    assert wrong == {}


def test_there_are_command_lines():
    count = {page: len(commands(text)) for page, text in PAGES.items()}
    assert count["README.md"] >= 20 and count["docs/sweeps.md"] >= 10 and count["options"] >= 3
    assert sum(count.values()) > 120
    text = "    python run.py a=1 \\\n        b=2   # c\n\n    make y    what it is\n"
    text += "`make x`, `python run.py ...`\n"
    assert commands(text) == ["python run.py a=1 b=2", "make y", "make x"]


@pytest.mark.parametrize(
    "line",
    [
        "python run.py sampler.eat=0",
        "diffexp sampler=dim",
        "python run.py -m sampler=ddim,dim",
        "python run.py seed=0,1",
        "python run.py -cn nothing",
        "diffexp list",
        "make n",
        'make run ARGS="sampler=dim"',
        'make test ARGS="tests/none"',
        'make faults ARGS="--round 3"',
        "python benchmarks/unet.py --round 3",
        "python benchmarks/overhead.py RUN",
    ],
)
def test_a_command_that_cannot_be_typed_is_noticed(line):
    assert commands(f"`{line}`") == [line]
    with pytest.raises(Exception):  # noqa: B017
        check(line)


def test_an_answer_is_as_it_is_shown(tmp_path):
    block = re.compile(r"^ +\$ (python run\.py .*\n(?: {4,}\S.*\n)+)", re.MULTILINE)
    shown = {answer for text in PAGES.values() for answer in block.findall(text)}
    assert shown
    for text in shown:
        line, *answer = map(str.strip, text.splitlines())
        words = [sys.executable, str(ROOT / "run.py"), *shlex.split(line)[2:]]
        done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
        assert list(map(str.strip, (done.stdout + done.stderr).splitlines())) == answer


def test_the_parts_alone_are_used_as_it_is_shown():
    _, block = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "notebook.md").read_text(), re.DOTALL)
    names = dict[str, object]()
    exec(block, names)
    assert float(names["level"].alpha) == pytest.approx(0.702, abs=1e-3)  # ᾱ = 0.494 of the cosine schedule


def test_the_readme_is_short_and_its_links_hold():
    assert len(README.splitlines()) <= 150
    links = re.findall(r"\]\((?!http)([^)#]+)", README)
    assert len(links) > 15 and [name for name in links if not (ROOT / name).exists()] == []
    pictures = re.findall(r"!\[.*?\]\((.*?)\)", README)
    assert pictures and all((ROOT / name).stat().st_size > 1000 for name in pictures)


def test_extras_are_those_of_the_package():
    offered = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = {n for text in PAGES.values() for n in re.findall(r"(?:diffexp|\.)\[(\w+)\]['\"`]", text)}
    assert {"transformers", "ray"} <= named <= set(offered)


@pytest.mark.parametrize(
    "file", sorted(CONF.rglob("*.yaml")), ids=lambda file: f"{file.parent.name}/{file.stem}"
)
def test_every_option_begins_with_what_it_is(file):
    first = OPTIONS["option"](file).about.splitlines()[0]
    assert len(first) > 12 and ": ~" not in first and not first.startswith(("  ", "-"))


def test_every_group_says_what_it_is():
    folders = {file.parent.relative_to(CONF).as_posix() for file in CONF.rglob("*/*.yaml")} - {"hydra/help"}
    groups = {name: (about, files) for name, about, files in OPTIONS["groups"]()}
    assert set(groups) == folders
    assert all(about and files for about, files in groups.values())


def test_an_option_without_a_comment_is_refused(tmp_path):
    (tmp_path / "a.yaml").write_text("# @package _global_\nname: a\n# what it is\n")
    with pytest.raises(ValueError, match="does not begin with a comment"):
        OPTIONS["option"](tmp_path / "a.yaml")


def test_every_fault_has_its_test():
    there = "".join(file.read_text() for file in (ROOT / "tests").rglob("test_*.py"))
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "docs" / "faults.md").read_text()))
    assert len(named) > 30
    assert [name for name in named if f"def {name}(" not in there] == []


@pytest.mark.parametrize("file", sorted((ROOT / "benchmarks").glob("*.py")), ids=lambda file: file.stem)
def test_benchmarks_are_imported(file, monkeypatch):
    """What they take from us is where they look for it; running one takes minutes."""
    monkeypatch.syspath_prepend(file.parent)
    spec = importlib.util.spec_from_file_location(f"benchmark_{file.stem}", file)
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
