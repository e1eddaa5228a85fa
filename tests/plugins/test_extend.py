"""docs/extend.md: its files are those beside this one, and its commands are answered when all is copied."""

import re
import shlex

import pytest
from forked import forked

from plugins.conftest import HERE, QUICK

TEXT = (HERE.parents[1] / "docs" / "extend.md").read_text()
SHOWN = dict(re.findall(r"^`((?:my_package|my_conf)/[\w/.]+)`:\n\n```\w+\n(.*?)^```", TEXT, re.M | re.S))
COMMANDS = re.findall(r"^    (python run\.py .*my_package\].*)$", TEXT, re.M)
ONLY_HERE = {"__init__.py", "broken.py", "conftest.py", "killed.py", "recorder.py", "seen.py"}


def test_each_file_here_is_shown_as_it_is():
    files = [f for f in HERE.glob("*.py") if f.name not in ONLY_HERE and not f.name.startswith("test_")]
    here = {f"my_package/{f.name}": f.read_text() for f in files}
    here |= {f"my_conf/{f.relative_to(HERE / 'conf')}": f.read_text() for f in HERE.glob("conf/*/*.yaml")}
    assert len(here) > 25 and SHOWN.keys() == here.keys()
    for name, text in SHOWN.items():
        mine = "plugins." if name.startswith("my_conf") else "from plugins."
        assert text == here[name].replace(mine, mine.replace("plugins", "my_package"))


@pytest.fixture(scope="module")
def copied(tmp_path_factory):
    """A folder with what is shown, and two runs of it."""
    folder = tmp_path_factory.mktemp("copied")
    for name, text in SHOWN.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        short = [text for text in QUICK if not text.startswith(("data", "metrics"))]
        words = ["data=halves", "metrics=halves", "metrics.n=16", "conditioning=words", "network=reader"]
        for name, typed in (("dit", ["metrics=none", "network=dit"]), ("words", words)):
            own = ["-cd", "my_conf", "plugins=[my_package]", "logger=none", f"dir={name}"]
            code, said = forked([*own, *short, *typed], folder, folder / "said")
            assert code == 0, said
        yield folder


def test_there_are_commands_for_all_that_is_shown():
    assert len(COMMANDS) == 10 and all(command.startswith("python run.py") for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_commands_are_answered(copied, runs, command):
    run = copied / ("words" if "task.text" in command else "dit")
    command = command.replace("RUN", str(run)).replace("OTHER", str(run)).replace("/runs/of_dit", str(run))
    command = command.replace("/data/halved.safetensors", str(runs.folder / "codec.safetensors"))
    typed = [*shlex.split(command)[2:], "logger=none", "dir=dry", "dry_run=true"]
    code, said = forked(typed, copied, copied / "said")
    assert code == 0 and "all checks have passed" in said, said
