"""metrics.jsonl, and W&B without a network."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from alike import alike
from commands import QUICK
from wandb_file import records

from diffexp.errors import DataError
from diffexp.training import Jsonl, NoTracker, Wandb
from diffexp.training.tracker import first


def test_one_line_for_each_call(tmp_path):
    logger = Jsonl(tmp_path / "metrics.jsonl")
    logger.log_metrics({"a": 1.5, "epoch": 0}, step=1)
    logger.log_metrics({"b": float("nan"), "c": torch.tensor(2.0)}, step=2)
    logger.log_metrics({"epoch": 0}, step=3)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [{k: v for k, v in line.items() if k != "seconds"} for line in lines] == [
        {"step": 1, "a": 1.5},
        {"step": 2, "b": None, "c": 2.0},
    ]


def test_a_clock_that_is_set_back_gives_no_negative_seconds(tmp_path, monkeypatch):
    logger = Jsonl(tmp_path / "metrics.jsonl")
    monkeypatch.setattr(time, "time", lambda: 0.0)
    logger.log_metrics({"a": 1.0}, step=1)
    assert 0 <= json.loads((tmp_path / "metrics.jsonl").read_text())["seconds"] < 60


@pytest.mark.slow
def test_a_full_disk_leaves_no_half_of_a_line(tmp_path):
    """Here a limit on the size of a file, in the middle of the second line."""
    code = (
        "import pathlib, resource, sys\n"
        "from diffexp.training import Jsonl\n"
        "path = pathlib.Path(sys.argv[1])\n"
        "Jsonl(path).log_metrics({'a': 1.0}, step=1)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 10,) * 2)\n"
        "try:\n    Jsonl(path).log_metrics({'a': 2.0}, step=2)\n"
        "except Exception as error:\n    print(type(error).__name__, error.code)\n"
    )
    path = tmp_path / "metrics.jsonl"
    told = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True)
    assert told.stdout == "ResourceError 5\n", told.stderr
    Jsonl(path).log_metrics({"a": 3.0}, step=3)
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [1, 3]


def test_a_link_is_not_written_through(tmp_path):
    (tmp_path / "victim").write_text("precious")
    (tmp_path / "metrics.jsonl").symlink_to(tmp_path / "victim")
    with pytest.raises(DataError, match="this is a link"):
        Jsonl(tmp_path / "metrics.jsonl").log_metrics({"a": 1.0}, step=1)
    assert (tmp_path / "victim").read_text() == "precious"


def test_no_tracker_opens_nothing(tmp_path):
    assert NoTracker().open(tmp_path, "n", "train", [], {}) is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "env, want",
    [
        ({}, True),
        ({"RANK": "0", "LOCAL_RANK": "0"}, True),  # torchrun
        ({"RANK": "4", "LOCAL_RANK": "0"}, False),  # the first of its second machine
        ({"LOCAL_RANK": "1"}, False),  # Lightning's own processes
        ({"LOCAL_RANK": "0", "NODE_RANK": "1"}, False),
        ({"SLURM_PROCID": "0"}, True),
        ({"SLURM_PROCID": "3", "SLURM_LOCALID": "0"}, False),
    ],
)
def test_one_process_of_a_run_is_the_first(monkeypatch, env, want):
    for name in ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    assert first() is want


RUN = """
import pathlib, sys
from diffexp.training import Wandb
for name in ("one", "two"):
    tracker = Wandb(mode=sys.argv[2])
    folder = pathlib.Path(sys.argv[1]) / name
    folder.mkdir()
    run = tracker.open(folder, "digits", "train", ["schedule=cosine"], {"seed": 3})
    run.log({"train/loss": 0.25}, step=7)
    tracker.close()
"""


def test_offline_runs_are_apart_and_hold_what_was_logged(tmp_path):
    for mode in ("offline", "online"):  # without a key, online falls back
        root = tmp_path / mode
        root.mkdir()
        start = time.monotonic()
        told = subprocess.run(
            [sys.executable, "-c", RUN, str(root), mode],
            capture_output=True,
            text=True,
            timeout=60,
            stdin=subprocess.DEVNULL,
            env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
            cwd=tmp_path,
        )
        assert told.returncode == 0, told.stderr
        assert time.monotonic() - start < 45
        assert ("out of reach" in told.stdout) == (mode == "online")
        for name in ("one", "two"):
            (file,) = (root / name).glob("wandb/offline-run-*/*.wandb")
            content = file.read_bytes()
            for text in (b"train/loss", b"schedule=cosine", b"digits", b"train"):
                assert text in content
        assert not (tmp_path / "wandb").exists()


def test_modes_are_two():
    assert Wandb().mode == "offline"


def test_a_run_in_a_relative_folder_lies_there_also_with_a_service_from_elsewhere(tmp_path):
    """As a job has that was begun by a process with a run of its own."""
    code = RUN.replace("pathlib.Path(sys.argv[1])", "pathlib.Path('here')")
    outer = (
        "import os, pathlib, subprocess, sys, wandb\n"
        "wandb.setup()\n"
        "pathlib.Path('there/here').mkdir(parents=True)\n"
        f"sys.exit(subprocess.run([sys.executable, '-c', {code!r}, '', 'offline'], cwd='there').returncode)\n"
    )
    env = {k: v for k, v in os.environ.items() if not k.startswith("WANDB")}
    done = subprocess.run(
        [sys.executable, "-c", outer], cwd=tmp_path, env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert len(list(tmp_path.glob("there/here/*/wandb/offline-run-*/*.wandb"))) == 2


OPEN = """
import pathlib, sys
from diffexp.training import Wandb
tracker = Wandb()
run = tracker.open(pathlib.Path(sys.argv[1]), "digits", "train", [], {"seed": 3})
print("opened", run and run.id)
tracker.close()
"""


def opened(folder, *command, code=OPEN):
    """What a process prints that opens a run in the folder and closes it."""
    folder.mkdir(exist_ok=True)
    env = {k: v for k, v in os.environ.items() if not k.startswith("WANDB")}
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder), *command],
        capture_output=True,
        text=True,
        env=env,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_run_keeps_its_id(tmp_path):
    assert [opened(tmp_path / "run") for _ in range(2)] == [
        f"opened {(tmp_path / 'run' / 'wandb' / 'id').read_text()}\n"
    ] * 2


def linked(file):
    (file.parent / "elsewhere").write_text("abcd1234")
    file.symlink_to("elsewhere")


CONTENT = {
    "empty": b"", "long": b"a" * 300, "path": b"../../x", "not UTF-8": b"\xff\xfe1", "space": b"a b",
    "escape": b"a\x1b[2Jb",
}  # fmt: skip
DAMAGE = {
    **{name: lambda file, it=it: file.write_bytes(it) for name, it in CONTENT.items()},
    "link": linked,
    "broken link": lambda file: file.symlink_to("/nowhere"),
    "pipe": lambda file: os.mkfifo(file),
}


@pytest.mark.parametrize("name", alike(DAMAGE, ["path", "link", "pipe"]))
def test_a_damaged_id_is_replaced(tmp_path, name):
    (tmp_path / "run" / "wandb").mkdir(parents=True)
    file = tmp_path / "run" / "wandb" / "id"
    DAMAGE[name](file)
    told, made = opened(tmp_path / "run"), file.read_text()
    assert told == f"{file} holds no id of a run: W&B has this as a new run\nopened {made}\n"
    assert not file.is_symlink() and len(made) == 8 and int(made, 16) >= 0


def test_a_tracker_that_fails_costs_the_tracker(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "wandb").write_text("in the way")
    (tmp_path / "b" / "wandb" / "id").mkdir(parents=True)
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "wandb").symlink_to(tmp_path)
    full = (  # no file can have a byte more, as on a full disk
        "import resource, signal\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))\n"
    )
    for name, code in (("a", OPEN), ("b", OPEN), ("c", OPEN), ("d", full + OPEN)):
        first, last = opened(tmp_path / name, code=code).splitlines()
        assert first.startswith("without W&B, which failed (") and "metrics.jsonl has the values" in first
        assert last == "opened None"
    broken = "import sys, types; sys.modules['wandb'] = types.ModuleType('wandb')\n" + OPEN
    assert "without W&B, which failed (" in opened(tmp_path / "e", code=broken)
    assert {path.name for path in tmp_path.iterdir()} == set("abcde")


def recorded(folder):
    """All that W&B has in a folder: the bytes of each file, the name and the records of each."""
    files = [path for path in (folder / "wandb").rglob("*") if path.is_file()]
    (log,) = [path for path in files if path.suffix == ".wandb" and not path.is_symlink()]
    parts = [str(record) for record in records(log)]
    return [*(path.read_bytes().decode("utf-8", "replace") for path in files), *map(str, files), *parts]


def test_a_secret_that_is_typed_is_not_in_what_wandb_records(tmp_path):
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b"]
    for args in (
        ["init", "-q"],
        ["remote", "add", "origin", "https://remote-hush:x-oauth-basic@example.com/x.git"],
        ["commit", "-q", "--allow-empty", "-m", "x"],
    ):
        subprocess.run([*git, *args], cwd=tmp_path, check=True)
    quick = [a for a in QUICK if a != "logger=none"]
    env = {k: v for k, v in os.environ.items() if not k.startswith("WANDB")} | {"MY_TOKEN": "env-hush"}
    run = Path(__file__).parents[2] / "run.py"
    command = [sys.executable, str(run), *quick, "dir=run", "metrics=none", "+sweep.api_key=hush-hush"]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = recorded(tmp_path / "run")
    assert any("CPython" in text and "environment" in text for text in found)  # that it has its metadata
    assert any("network.channels" in text or "channels" in text for text in found)
    for hush in ("hush-hush", "env-hush", "remote-hush"):
        assert [text for text in found if hush in text] == []
    head = subprocess.run([*git, "rev-parse", "HEAD"], cwd=tmp_path, capture_output=True, text=True)
    assert any(head.stdout.strip() in text for text in found)


def test_wandb_records_what_was_typed_without_its_secrets(tmp_path):
    opened(tmp_path / "run", "seed=3", "extra.api_key=hush")
    (line,) = [text for text in recorded(tmp_path / "run") if "environment {" in text and "args:" in text]
    assert 'args: "seed=3"\n' in line and 'args: "extra.api_key=***"\n' in line
    assert line.count("args:") == 3  # the folder is one
