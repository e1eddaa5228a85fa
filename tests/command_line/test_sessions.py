"""Sessions of a program, without a person: no traceback, every result parseable, exit codes as documented;
nothing asks for input.
"""

import json
import re
import shutil

import pytest
from commands import QUICK
from forked import forked
from result_form import no_constant, read_result

FEW = [*QUICK, "trainer.max_steps=2", "loader.batch_size=8", "metrics=none"]
OF = ["task.ckpt=run", "sampler.steps=2", "metrics.n=20", "evaluator.pictures=4", "logger=none"]
ASK = ["task=query", "task.runs=[run]", "task.format=json"]

# (what is typed, the exit code)
SHORT = [
    (["--version"], 0), (["runs", ".", "--json"], 0), (["runs", "nowhere"], 3), (["resume=nowhere"], 2),
    (["sampler=dddim"], 2), (["task=trian"], 2), (["experiment=nope"], 2), (["no words at all"], 2),
    (["seed"], 2), (["sampler.eat=0"], 2), (["+sampler.a=1"], 2), (["trainer.max_time=5x"], 2),
    (["task=compare"], 2), (["task=query"], 2), (["task=query", "task.runs=[nowhere]"], 3),
    ([*ASK, "task.where=("], 2), ([*ASK, "task.best=fidd"], 2),
    ([*ASK, "task.where=schedule=cosine and seed=0", "task.best=fid"], 0),
    ([*ASK, "task.where=seed>9", "task.show=[seed]"], 0),
]  # fmt: skip
LONGER = [
    (["sampler.steps=abc"], 2), (["sampler.steps=0"], 2), (["trainer.max_flops=-1", "trainer.max_time=0"], 2),
    (["trainer.max_flop=1"], 2), (["network.channels=7"], 2), (["data=folder", "data.path=nowhere"], 3),
    (["task=evaluate", "task.ckpt=nowhere"], 3), (["task=sample", "task.ckpt=run", "task.n=0"], 2),
    (["task=compare", "task.runs=[run,nowhere]"], 3), ([*ASK, "task.where=steps<1"], 2),
    ([*ASK, "task.show=[sed]"], 2), ([*ASK, "task.where=a in [1,2"], 2),
    (["-m", "sampler=ddim,dddim", "task=evaluate"], 2), (["task=report", "task.sweeps=[nowhere]"], 3),
    (["task=likelihood", "task.ckpt=run/run.json"], 3), (["dry_run=true", *FEW], 0), (["resume=run"], 0),
    (ASK, 0), (["task=query", "task.runs=[run]"], 0), (["task=export", "task.ckpt=run"], 0),
    (["task=sample", *OF, "task.n=2"], 0), (["task=evaluate", *OF], 0),
    (["task=evaluate", *OF, "sampler.steps=3", "seed=1"], 0),
    (["task=likelihood", "task.ckpt=run", "task.n=2", "task.steps=2", "logger=none"], 0),
    (["task=encode", "task.ckpt=run", "task.n=2", "sampler.steps=2", "logger=none"], 0),
    (["task=data", "data=digits"], 0), (["task=selftest"], 0), (FEW, 0),
    ([*FEW, "trainer.max_flops=1e3"], 0), (["-m", *FEW, "seed=0,1", "trainer.max_flops=1e3"], 0),
    ([*FEW, "optimizer.lr=1e30", "trainer.log_every_n_steps=1", "model.clip_norm=null"], 4),
]  # fmt: skip


def sessions():
    """(what is typed, the exit code, marks)"""
    return [(*s, ()) for s in SHORT] + [(*s, pytest.mark.slow) for s in LONGER]


def test_there_are_fifty():
    assert len(sessions()) == 50


@pytest.fixture(scope="module")
def home(run, tmp_path_factory):
    """A folder with a run in it."""
    folder = tmp_path_factory.mktemp("home")
    shutil.copytree(run, folder / "run")
    return folder


@pytest.mark.parametrize(
    ("typed", "code"), [pytest.param(t, c, id=" ".join(t)[:60], marks=m) for t, c, m in sessions()]
)
def test_a_session(home, tmp_path, typed, code):
    folder = tmp_path / "its"
    own = [] if typed[0] in ("--version", "runs", "-m") or "resume=" in typed[0] else [f"dir={folder}"]
    told, found = forked([*typed, *own], home, tmp_path / "out", 200, tmp_path / "err")
    err = (tmp_path / "err").read_text()
    assert told == code, (found, err)
    assert "Traceback" not in found + err and "EOF" not in err
    if code == 2 or code == 3:
        assert found == "" and not folder.exists()
        assert re.match(r"error: .+(\n  at: .+)?\n  do: .+", err) or re.match(r"error: \d problems", err), err
    if typed[: len(ASK)] == ASK and code == 0:
        answer = json.loads(found, parse_constant=no_constant)
        assert answer["schema"] == 1 and answer["found"] == len(answer["rows"]) and err == ""
    if "--json" in typed:
        assert [json.loads(line)["state"] for line in found.splitlines()] == ["finished"]
    if folder.exists():
        result = read_result(folder)
        assert result["exit_code"] == code and result["status"] == ("failed" if code else "done")
    if typed[0] == "-m" and code == 0:
        (sweep,) = (home / "runs").glob("*/sweep_*")
        jobs = [read_result(job) for job in (sweep / "jobs").iterdir()]
        assert [job["results"]["budget"]["ended_by"] for job in jobs] == ["max_flops"] * 2
