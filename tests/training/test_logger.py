"""metrics.jsonl, and W&B without a network."""

import json
import os
import subprocess
import sys
import time

import pytest
import torch

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
