"""diffexp runs, and runs/latest."""

import json
import os
import shlex
import time
from pathlib import Path

import pytest
from commands import CONF, QUICK
from forked import forked

from diffexp import cli
from diffexp.config.argv import command
from diffexp.files import point
from diffexp.listing import age, below, described, runs
from diffexp.locks import busy, locked
from diffexp.run.latest import point_to, with_latest

SMALL = [*QUICK, "trainer.max_steps=4", "metrics=none", "callbacks.checkpoint.every=2"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def a_run(folder, state="done", saved=True, results=None, **more):
    (folder / "checkpoints").mkdir(parents=True)
    if saved:
        (folder / "checkpoints" / "last.ckpt").write_bytes(b"")
        (folder / "checkpoints" / "last.ckpt.json").write_text('{"step": 40}')
    record = {"state": state, "started": "2026-01-01T00:00:00Z", "results": results or {}}
    (folder / "run.json").write_text(json.dumps(record | more))
    return folder


def a_sweep(folder, states, typed="diffexp -m seed=0,1", **more):
    folder.mkdir(parents=True)
    cells = [
        {"id": f"c{i}", "typed": [f"seed={i}"], "values": {"seed": str(i)}, "folder": f"jobs/c{i}"}
        for i in range(len(states))
    ]
    plan = {"name": "x", "command": typed, "layout": {}, "varying": {"seed": ["0", "1"]}, "cells": cells}
    (folder / "plan.json").write_text(json.dumps(plan | more))
    lines = [
        {"id": f"c{i}", "state": state, "results": {"fid_x": 3.0 - i}, "started": "2026-01-01T00:00:00Z"}
        for i, state in enumerate(states)
        if state
    ]
    (folder / "results.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    a_run(folder / "jobs" / "c0")
    return folder


@pytest.mark.parametrize(
    ("written", "state", "goes_on"),
    [
        ("done", "finished", False),
        ("running", "interrupted", True),
        ("Interrupted: stopped by SIGTERM at step 4, saved", "stopped", True),
        ("DivergedError: the loss is not finite", "diverged", True),
        ("ResourceError: the disk is full", "failed", True),
    ],
)
def test_each_state_has_its_word(here, written, state, goes_on):
    folder = a_run(here / "runs" / "a b", written, results={"val/loss": 0.5, "fid_x": 7.25})
    run = described(Path("runs/a b"))
    assert (run.state, run.steps, run.metric, run.value) == (state, 40, "fid_x", 7.25)
    assert run.started == 1767225600 and run.kind == "run"
    assert (run.goes_on is not None) == goes_on
    if run.goes_on:
        assert shlex.split(run.goes_on) == [*command(), "resume=runs/a b"]
    (folder / "checkpoints" / "last.ckpt").unlink()
    assert described(folder).goes_on is None


def test_a_run_at_work_is_running_and_its_last_line_is_shown(here):
    folder = a_run(here / "runs" / "a", "running")
    logged = [{"step": 10, "val/fid_x": 9.5}, {"step": 20, "train/loss": 0.25}]
    (folder / "metrics.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in logged) + '{"step": 3')
    with locked(folder / ".lock"):
        run = described(folder)
        assert busy(folder / ".lock")
        assert (run.state, run.steps, run.metric, run.value) == ("running", 40, "val/fid_x", 9.5)
    assert described(folder).state == "interrupted" and not busy(folder / ".lock")


def test_a_sweep_is_one_line_with_its_best_value(here, capsys):
    folder = a_sweep(
        here / "runs" / "x" / "sweep_1", ["done", "done", None], "python run.py -m 'a=[1,2]' seed=0,1"
    )
    (run,) = map(described, below(Path("runs")))
    assert (run.kind, run.state, run.steps, run.metric, run.value) == (
        "sweep",
        "interrupted",
        "2/3",
        "fid_x",
        2,
    )
    assert shlex.split(run.goes_on) == [*command(), "-m", "a=[1,2]", "seed=0,1"]
    elsewhere = described(folder.rename(here / "moved"))
    assert shlex.split(elsewhere.goes_on)[-1] == f"hydra.sweep.dir={here / 'moved'}"
    assert described(a_sweep(here / "runs" / "y" / "all", ["done"])).state == "finished"
    cut = described(a_sweep(here / "runs" / "y" / "cut", ["done"], complete=False))
    assert (cut.state, cut.steps) == ("interrupted", "1/2")
    assert described(a_sweep(here / "runs" / "y" / "bad", ["done", "failed"])).state == "failed"


@pytest.mark.parametrize("typed", ["rm -rf runs; diffexp", "'", "curl x | sh", ""])
def test_the_command_of_a_strangers_sweep_is_ours_or_none(here, typed):
    assert described(a_sweep(here / "runs" / "x" / "s", [None], typed)).goes_on is None


def test_what_a_stranger_typed_stays_one_word_each(here):
    folder = a_sweep(here / "runs" / "x" / "s", [None], "diffexp -m 'seed=0,1; rm -rf x' \x1b]0;x\x07 $(id)")
    assert described(folder).goes_on is None
    folder = a_sweep(here / "runs" / "x" / "t", [None], "diffexp -m seed=0,1 'name=a b $HOME'")
    assert "-m seed=0,1 'name=a b $HOME'" in described(folder).goes_on


@pytest.mark.parametrize(
    "more",
    [
        "+hydra.callbacks.x._target_=logging.FileHandler", "hydra.run.dir=/x", "-cd /x", "plugins=[x]",
        "metrics.metrics.0.cache=/x", "model._target_=os.system", "dir=/x", "~logger",
    ],
)  # fmt: skip
def test_a_strangers_sweep_says_values_alone(here, more):
    folder = a_sweep(here / "runs" / "x" / "s", [None], f"diffexp -m seed=0,1 {more}")
    assert described(folder).goes_on is None


HOSTILE = ["", "[]", "{", '{"state": 3}', '{"state": "done", "results": [1]}', '{"state": NaN}', "[" * 10**5]


@pytest.mark.parametrize("content", HOSTILE, ids=range(len(HOSTILE)))
def test_a_damaged_record_is_shown_as_such(here, content, capsys):
    folder = a_run(here / "runs" / "a\x1b[31m")
    (folder / "run.json").write_text(content)
    assert described(folder).state == "damaged"
    assert runs([]) == 0
    said = capsys.readouterr().out
    assert "damaged" in said and "\x1b" not in said


def test_numbers_that_are_none_are_left_out(here):
    huge = 10**400
    folder = a_run(here / "runs" / "a", results={"a": huge, "b": float("nan"), "c": True, "d": 2.0})
    (folder / "metrics.jsonl").write_text(f'{{"step": {huge}}}\n[1]\n{{"step": "x", "val/fid": {huge}}}\n')
    run = described(folder)
    assert (run.metric, run.value, run.steps) == ("d", 2.0, 40)


def test_links_lead_nowhere_and_latest_is_not_counted_twice(here):
    outside = a_run(here / "outside", results={"fid_secret": 1.0})
    a_run(here / "runs" / "a")
    point(here / "runs" / "latest", "a")
    (here / "runs" / "link").symlink_to(outside)
    (here / "runs" / "b").mkdir()
    (here / "runs" / "b" / "run.json").symlink_to(outside / "run.json")
    assert [(run.path, run.state) for run in map(described, below(Path("runs")))] == [
        ("runs/a", "finished"),
        ("runs/b", "damaged"),
    ]


def test_a_thousand_runs_take_seconds(here, capsys):
    for i in range(1000):
        folder = a_run(here / "runs" / f"n{i % 7}" / f"{i:04}", results={"fid_x": float(i)})
        (folder / "metrics.jsonl").write_text('{"step": 10, "train/loss": 0.5}\n' * 200)
    start = time.perf_counter()
    assert runs(["--json"]) == 0
    assert time.perf_counter() - start < 5
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(lines) == 1000 and sum(line["value"] for line in lines) == 499_500


@pytest.mark.parametrize(
    ("ago", "said"), [(5, "5 s"), (125, "2 min"), (7300, "2 h"), (200_000, "2 d"), (-9, "0 s"), (None, "")]
)
def test_the_age(ago, said):
    assert age(None if ago is None else time.time() - ago - 0.01) == said


def test_no_folder_is_said(here, capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["diffexp", "runs", "nowhere"])
    assert cli.main(CONF) == 3 and "there is no folder nowhere" in capsys.readouterr().err


def test_latest_is_replaced_and_nothing_else_is(here):
    (here / "runs" / "a" / "1").mkdir(parents=True)
    point_to(Path("runs/a/1"))
    point_to(here / "runs" / "a" / "2")
    assert os.readlink("runs/latest") == "a/2"
    for other in ("elsewhere", "runs", "runs/latest", "runs/x/jobs/0123456789ab", "runs/../up"):
        point_to(Path(other))
    assert os.readlink("runs/latest") == "a/2" and sorted(os.listdir("runs")) == ["a", "latest"]
    os.unlink("runs/latest")
    Path("runs/latest").mkdir()
    point_to(Path("runs/a/1"))
    assert not Path("runs/latest").is_symlink() and sorted(os.listdir("runs")) == ["a", "latest"]
    Path("runs/latest").rmdir()
    Path("runs/latest").write_text("mine")
    point_to(Path("runs/a/1"))
    assert Path("runs/latest").read_text() == "mine"


def test_what_is_typed_names_the_folder_itself(here, capsys):
    assert with_latest(["task.ckpt=runs/latest"]) == ["task.ckpt=runs/latest"]  # there is none yet
    (here / "runs" / "a" / "1").mkdir(parents=True)
    point_to(Path("runs/a/1"))
    typed = ["task.ckpt=runs/latest", "resume=./runs/latest", "init=runs/latest/checkpoints/last.ckpt"]
    made = ["task.ckpt=runs/a/1", "resume=runs/a/1", "init=runs/a/1/checkpoints/last.ckpt"]
    assert with_latest(typed) == made
    assert capsys.readouterr().err == "runs/latest is runs/a/1\n"
    other = ["name=latest", "x=runs/latest_of_all", "y=/runs/latest", "-m", "runs/latest"]
    assert with_latest(other) == other and capsys.readouterr().err == ""
    assert with_latest(["task.sweeps=[runs/latest,b]"]) == ["task.sweeps=[runs/a/1,b]"]


def test_latest_is_trained_sampled_and_gone_on_with(here):
    def type_(*typed, code=0):
        given, said = forked(typed, here, here / "said")
        assert given == code, said
        return said

    type_(*SMALL, "dry_run=true")
    assert not (here / "runs").exists()
    type_(*SMALL, "name=one")
    (one,) = (here / "runs" / "one").iterdir()
    assert os.readlink("runs/latest") == f"one/{one.name}"
    type_("task=sample", "task.ckpt=runs/latest", "task.n=2", "logger=none")
    assert os.readlink("runs/latest") == f"one/{one.name}"  # the same when it is typed again
    said = type_("resume=runs/latest", "trainer.max_steps=6")
    assert f"runs/latest is runs/one/{one.name}" in said and "from step 4" in said
    assert json.loads((one / "checkpoints" / "last.ckpt.json").read_text())["step"] == 6
    said = type_("runs")
    assert "finished" in said and said.count(f"one/{one.name}") == 1
