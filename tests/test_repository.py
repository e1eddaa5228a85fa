"""The repository as a public project: what may be in its history, and that what it says of itself is so."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
FORGE = sorted(file for file in (ROOT / ".github").rglob("*") if file.is_file())
PICTURE, WEIGHTS = "docs/a/b.png", "src/diffexp/metrics/weights/a.safetensors"


def run(*words, folder=ROOT, **environment):
    """A command without what a hook of git, which may be running this, says to git by the environment."""
    own = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    return subprocess.run(words, cwd=folder, env=own | environment, capture_output=True, text=True)


def tool(name, *words, folder=ROOT):
    done = run(sys.executable, str(ROOT / "tools" / name), *words, folder=folder)
    assert not done.stderr
    return done.returncode, done.stdout


def test_no_tracked_file_is_large_or_binary():
    if not (ROOT / ".git").exists():
        pytest.skip("not a clone")
    try:
        listed = run("git", "ls-files", "-z")
    except FileNotFoundError:
        pytest.skip("no git")
    if listed.returncode:
        pytest.skip(listed.stderr)
    files = listed.stdout.split("\0")[:-1]
    assert {"README.md", "tools/refuse_files.py"} <= set(files)
    assert tool("refuse_files.py", *files) == (0, "")


@pytest.mark.parametrize(
    "name, content, why",
    [
        ("a.txt", b"a" * 500_000, None),
        ("a.txt", b"a" * 500_001, "500,001 bytes, more than 500,000"),
        (WEIGHTS, b"\0" * 500_001, "500,001 bytes, more than 500,000"),
        (WEIGHTS, b"\0", None),
        (PICTURE, b"\0", None),
        ("tests/b.png", b"\0", "a binary file"),
        ("docs/b.png.whl", b"PK", "a binary file"),
        ("src/diffexp/a.safetensors", b"", "a binary file"),
        ("A.CKPT", b"", "a binary file"),
        ("an archive.tar.gz", b"", "a binary file"),
        ("a", b"text\0", "a binary file"),
    ],
)
def test_large_and_binary_files_are_refused_by_name(name, content, why, tmp_path):
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_bytes(content)
    code, said = tool("refuse_files.py", name, "not there", folder=tmp_path)
    assert (code, said) == (0, "") if why is None else code == 1 and said.startswith(f"{name}: {why}")


@pytest.mark.parametrize(
    "message, said",
    [
        ("σ" * 72 + "\n\nWhy.\n", ""),
        ("σ" * 73 + "\n\nWhy.\n", "the subject has 73 letters, more than 72: leave some to the body\n"),
        ("A subject\n", ""),
        ("A subject\n# Please enter the commit message\n", ""),
        ("# a comment\n\nA subject\n\nWhy.\n", ""),
        ("A subject\nWhy.\n", "the second line is not empty: leave a line before the body\n"),
        (f'Revert "{"a" * 70}"\n\nThis reverts commit 1.\n', ""),
    ],
)
def test_a_message_has_a_short_subject_and_an_empty_line(message, said, tmp_path):
    (tmp_path / "message").write_text(message, encoding="utf-8")
    assert tool("check_message.py", str(tmp_path / "message")) == (int(bool(said)), said)


def test_git_asks_the_hooks(tmp_path):
    pytest.importorskip("pre_commit")
    here, home = tmp_path / "clone", tmp_path / "home"
    here.mkdir()
    me = {f"GIT_{who}_{what}": "a@b" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    me |= {"HOME": str(home), "PRE_COMMIT_HOME": str(home), "XDG_CONFIG_HOME": str(home), "SKIP": "check"}

    def commit(name, content, message):
        (here / name).write_text(content)
        run("git", "add", "-f", name, folder=here, **me)
        done = run("git", "commit", "-m", message, folder=here, **me)
        run("git", "rm", "--cached", "-f", name, folder=here, **me)
        return done.returncode, done.stdout + done.stderr

    run("git", "init", folder=here, **me)
    for name in (".pre-commit-config.yaml", "tools/refuse_files.py", "tools/check_message.py"):
        (here / name).parent.mkdir(exist_ok=True)
        (here / name).write_bytes((ROOT / name).read_bytes())
    run("git", "add", ".", folder=here, **me)
    installed = run(sys.executable, "-m", "pre_commit", "install", folder=here, **me)
    assert installed.returncode == 0, installed.stderr
    code, said = commit("large.txt", "a" * 600_000, "Add a file")
    assert code == 1 and "large.txt: 600,000 bytes, more than 500,000" in said
    code, said = commit("a.whl", "PK", "Add a file")
    assert code == 1 and "a.whl: a binary file" in said
    code, said = commit("a.txt", "a", "Add a file that is small" + " and good" * 10)
    assert code == 1 and "the subject has 114 letters" in said
    code, said = commit("a.txt", "a", "Add a file\n\nIt is small.")
    assert code == 0 and run("git", "rev-list", "--count", "HEAD", folder=here, **me).stdout == "1\n", said


def test_the_citation_is_of_this_version():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors"} <= set(cited)  # what the format requires
    assert cited["cff-version"] == "1.2.0" and cited["type"] == "software"
    assert cited["authors"] == PROJECT["authors"] == [{"name": "diffexp contributors"}]
    assert (cited["title"], cited["license"]) == (PROJECT["name"], PROJECT["license"])
    newest = re.search(r"^## (\S+?),? ", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest and str(cited["version"]) == PROJECT["version"] == newest[1]


def test_the_package_says_that_it_is_typed():
    assert (ROOT / "src" / "diffexp" / "py.typed").read_bytes() == b""
    assert "Typing :: Typed" in PROJECT["classifiers"]


@pytest.mark.parametrize(
    "file", [ROOT / "CONTRIBUTING.md", ROOT / ".ci" / "run", *FORGE], ids=lambda file: file.name
)
def test_what_is_named_exists(file):
    text = file.read_text()
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    typed = re.findall(r"(?:^ *|`|run: |and |; )make (\w+)", text, re.MULTILINE)
    assert set(typed) <= set(targets)
    paths = re.findall(r"`((?:src|conf|tests|docs|tools)/[\w./]*|\w+\.(?:md|cff|toml)|\.ci/run)`", text)
    assert [path for path in paths if not (ROOT / path).exists()] == []
    if file.suffix == ".yml":
        assert isinstance(yaml.safe_load(text), dict)


def test_the_forge_runs_what_is_run_here():
    (job,) = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())["jobs"].values()
    steps = [step["run"] for step in job["steps"] if "run" in step]
    assert "make setup" in steps and ".ci/run" in steps
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    offered = [word.rsplit(" ", 1)[1] for word in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", word)]
    assert job["strategy"]["matrix"]["python"] == offered == ["3.11", "3.12"]


@pytest.mark.parametrize("name", ["bug", "question"])
def test_forms_ask_by_fields_that_the_forge_knows(name):
    form = yaml.safe_load((ROOT / ".github" / "ISSUE_TEMPLATE" / f"{name}.yml").read_text())
    assert set(form) == {"name", "description", "labels", "body"}
    fields = [field for field in form["body"] if field["type"] != "markdown"]
    assert {field["type"] for field in fields} == {"textarea"}
    assert all(field["attributes"]["label"] for field in fields)
    ids = [field["id"] for field in fields]
    assert len(set(ids)) == len(ids)
    assert name != "bug" or {"command", "output", "selftest", "run"} <= set(ids)
