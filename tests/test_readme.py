"""The README names every group and every option, and what it shows can be typed."""

import re
from pathlib import Path

from commands import CONF, composed

README = (Path(__file__).parents[1] / "README.md").read_text()
GROUPS = {
    folder.name: [p.stem for p in folder.glob("*.yaml")]
    for folder in CONF.iterdir()
    if folder.is_dir() and folder.name != "hydra"
}


def test_every_option_is_in_the_table():
    for group, options in GROUPS.items():
        (row,) = re.findall(rf"^\| `{group}` \| (.*?) \|", README, re.MULTILINE)
        assert sorted(re.findall(r"`(\w+)`", row)) == sorted(options), group


def test_command_lines_compose():
    lines = re.findall(r"^    python run\.py (.*?)(?: {3,}#.*)?$", README, re.MULTILINE)
    typed = [line.split() for line in lines if not line.startswith(("--", "-cd"))]  # those: test_sweep
    assert len(typed) >= 8
    for words in typed:
        sweep = "-m" in words
        overrides = [w for w in words if w != "-m"]
        composed([re.sub(r"=([^\[,]+),.*", r"=\1", w) for w in overrides] if sweep else overrides)


def test_pictures_are_there():
    for name in re.findall(r"!\[.*?\]\((.*?)\)", README):
        assert (CONF.parent / name).stat().st_size > 1000


def test_every_fault_has_its_test():
    here = Path(__file__).parent
    there = "".join(file.read_text() for file in here.rglob("test_*.py"))
    named = set(re.findall(r"`(test_\w+)`", (CONF.parent / "docs" / "faults.md").read_text()))
    assert len(named) > 30
    assert [name for name in named if f"def {name}(" not in there] == []
