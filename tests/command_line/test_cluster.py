"""Sweeps on submitit and on Ray: the same rows, a killed job costs itself, a preempted one goes on."""

import json
import os
import shutil
import signal
import subprocess
import time

import pytest
from commands import QUICK
from test_sweep import QUICKER, rows, sweep

from diffexp.sweep import cluster, slurm
from diffexp.sweep.cell import Cell
from diffexp.sweep.cluster import Lost, run_on
from diffexp.sweep.worker import News

SLURM = shutil.which("sbatch")
OPTIONS = "hydra.launcher.cluster.options"
LAUNCHERS = {
    "submitit_local": [],
    "ray": [],
    "submitit_slurm": [f"{OPTIONS}.{o}" for o in ("gpus_per_node=0", "cpus_per_task=1", "mem_gb=4")],
}
DEADLY = (
    "import os\nfrom dataclasses import dataclass\nfrom diffexp.samplers import DDIM\n"
    "@dataclass(frozen=True, kw_only=True)\nclass Deadly(DDIM):\n"
    "    def run(self, *args):\n        if self.steps == 3: os.kill(os.getpid(), 9)\n"
    "        yield from super().run(*args)\n"
)


def launched(launcher):
    """What is typed for a launcher; skips where it cannot be had."""
    pytest.importorskip(launcher.split("_")[0])
    if launcher == "submitit_slurm" and not SLURM:
        pytest.skip("there is no Slurm here")
    return [f"hydra/launcher={launcher}", *LAUNCHERS[launcher]]


def only(folder):
    (found,) = folder.glob("sweep_*")
    return found


@pytest.mark.slow
@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_jobs_of_a_cluster_are_told_like_those_of_this_machine(tmp_path, launcher):
    launcher = launched(launcher)
    (tmp_path / "deadly.py").write_text(DEADLY)
    args = ["plugins=[deadly]", "sampler._target_=deadly.Deadly", "sampler.steps=2,3,4", "name=x"]
    typed, env = [*QUICKER, *args, *launcher], {"PYTHONPATH": str(tmp_path)}
    code, out = sweep(*typed, cwd=tmp_path, env=env)
    found = rows(only(tmp_path / "runs" / "x"))
    states = {
        steps: row["state"] for row in found for steps in "234" if f"sampler.steps={steps}" in row["typed"]
    }
    assert code == 1, out
    assert states == {"2": "done", "3": "failed", "4": "done"}, out
    assert "3 jobs, 0 of them done" in out and "1 of 3 jobs failed" in out
    code, out = sweep(*typed, cwd=tmp_path, env=env)
    assert "3 jobs, 2 of them done before" in out  # and the third is tried again


@pytest.mark.slow
@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_preempted_training_is_submitted_again(tmp_path, launcher):
    launcher = launched(launcher)
    quick = [a for a in QUICK if not a.startswith("trainer.max_steps")]
    args = [*quick, "trainer.max_steps=150", "trainer.log_every_n_steps=1", "seed=0", "name=x"]
    process = sweep(*args, *launcher, cwd=tmp_path, wait=False)
    end, logged = time.time() + 120, []
    while time.time() < end and len(logged) < 20:
        found = list((tmp_path / "runs").glob("x/sweep_*/jobs/*/metrics.jsonl"))
        logged = found[0].read_text().splitlines() if found else []
        time.sleep(0.05)
    told = (found[0].parent / ".lock").read_text()
    os.kill(int(told.split()[1]), signal.SIGUSR2)
    out, _ = process.communicate(timeout=240)
    assert process.returncode == 0, out
    assert [row["state"] for row in rows(only(tmp_path / "runs" / "x"))] == ["failed", "done"]
    lines = [json.loads(line) for line in found[0].read_text().splitlines()]
    steps = [line["step"] for line in lines if "train/loss" in line]
    assert steps == list(range(1, 151))  # none is missing or doubled


@pytest.mark.parametrize(
    "typed, told",
    [
        ("hydra.launcher.cluster.kind=slurm", "there is no Slurm here"),
        ("hydra.launcher.cluster.options.timeout=5", "hydra.launcher.cluster.options"),
    ],
)
def test_what_a_cluster_does_not_have_is_told_before_a_folder_is_made(tmp_path, typed, told):
    pytest.importorskip("submitit")
    args = [*QUICKER, "hydra/launcher=submitit_local", typed, "sampler.steps=2,3"]
    code, out = sweep(*args, cwd=tmp_path, env={"PATH": str(tmp_path)})  # no Slurm, also where there is one
    assert code == 2 and told in out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.skipif(not SLURM, reason="there is no Slurm here")
def test_a_training_that_slurm_takes_off_and_queues_again_goes_on(tmp_path):
    quick = [a for a in QUICK if not a.startswith("trainer.max_steps")]
    args = [*quick, "trainer.max_steps=400", "trainer.log_every_n_steps=1", "callbacks.checkpoint.every=20"]
    process = sweep(*args, "seed=0", "name=x", *launched("submitit_slurm"), cwd=tmp_path, wait=False)
    end, found = time.time() + 120, []
    while time.time() < end and not found:
        found = list((tmp_path / "runs").glob("x/sweep_*/jobs/*/checkpoints/last.ckpt"))
        time.sleep(0.05)
    jobs = subprocess.run(["squeue", "-h", "--me", "-o", "%i"], capture_output=True, text=True, check=True)
    subprocess.run(["scontrol", "requeue", *jobs.stdout.split()], check=True)
    out, _ = process.communicate(timeout=400)
    assert process.returncode == 0, out
    assert [row["state"] for row in rows(only(tmp_path / "runs" / "x"))][-1] == "done"
    lines = [json.loads(line) for line in (found[0].parents[1] / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "train/loss" in line] == list(range(1, 401))


def test_a_job_has_gone_when_the_queue_has_not_named_it_for_a_while(tmp_path, monkeypatch):
    """squeue is a script here: what it says of a job, that it is gone, and nothing while it cannot be
    asked.
    """
    script = tmp_path / "squeue"
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(slurm, "ASK", 0.0)
    monkeypatch.setattr(slurm, "GRACE", 0.3)

    def says(text, code=0):
        script.write_text(f"#!/bin/sh\nprintf '{text}'\nexit {code}\n")
        script.chmod(0o755)

    queue = slurm.Queue()
    says("7\\n12\\n")
    assert not queue.gone("7") and not queue.gone("12") and not queue.gone("2")
    time.sleep(0.4)
    assert queue.gone("2") and not queue.gone("12")
    says("", 1)
    assert not queue.gone("2") and not queue.gone("12")
    says("7\\n")
    assert not queue.gone("12")  # seen to be missing now, and not for long enough
    says("7\\n12\\n")
    assert not queue.gone("12")  # queued again by Slurm
    time.sleep(0.4)
    says("7\\n")
    assert not queue.gone("12")
    time.sleep(0.4)
    assert queue.gone("12") and not queue.gone("7")


class Here:
    """Runs each job at once, in this process; the first time of the second one it is preempted."""

    def __init__(self, folder):
        self.folder, self.began, self.cancelled = folder, [], []

    def check(self):
        """There is nothing to check."""

    def submit(self, job):
        name = job.cell.id
        self.began.append(name)
        if name == "b" and self.began.count("b") == 1:
            return News(job.cell, "failed", "stopped", code=75)
        return None if name == "c" else News(job.cell, "done")

    def ended(self, ticket):
        return True

    def answer(self, ticket):
        if ticket is None:
            raise Lost("gone\nfor ever")
        return ticket

    def cancel(self, ticket):
        self.cancelled.append(ticket)


def test_lines_are_submitted_as_they_are_composed(tmp_path, monkeypatch):
    """A preempted job is submitted again, one that is lost has a row, and a faulty line is told."""
    monkeypatch.setattr(cluster, "POLL", 0.01)
    cells = {name: Cell(name, (), {}, {}, tmp_path / "jobs" / name) for name in "abcd"}
    here, seen = Here(tmp_path), []

    def steps():
        for step in (cells["a"], None, News(cells["d"], "failed", "faulty", code=2), cells["b"], cells["c"]):
            seen.append(len(here.began))
            yield step

    running = run_on(here, tmp_path, 2, 1, steps(), lambda: False)
    news = [(n.cell.id, n.kind) for n in running]
    assert here.began == ["a", "b", "b", "c"] or here.began == ["a", "b", "c", "b"]
    assert seen[1] == 1  # the first is submitted before the second line is composed
    assert sorted(n for n in news if n[1] != "started") == [
        ("a", "done"), ("b", "done"), ("c", "failed"), ("d", "failed"),
    ]  # fmt: skip
    (row,) = rows(tmp_path)
    assert (row["id"], row["error"], row["code"]) == ("c", "gone\nfor ever", 137) and row["seconds"] >= 0
    assert here.cancelled == []


def test_nothing_is_submitted_once_it_is_to_stop(tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "POLL", 0.01)
    cells = [Cell(name, (), {}, {}, tmp_path) for name in "ade"]
    here = Here(tmp_path)
    stops = lambda: len(here.began) >= 1  # noqa: E731
    news = [(n.cell.id, n.kind) for n in run_on(here, tmp_path, 1, 1, iter(cells), stops)]
    assert here.began == ["a"] and news == [("a", "started"), ("a", "done")]


def test_answers_that_lie_in_a_sweep_before_it_begins_are_not_read(tmp_path):
    """submitit unpickles DIR/NUMBER_0_result.pkl, and a stranger may guess the number."""
    pytest.importorskip("submitit")
    (tmp_path / "keep").touch()
    place = tmp_path / "sweep" / "submitit"
    made = [slurm.Submitit("local", str(place), {}) for _ in range(2)]
    for one in made:
        one.check()
    folders = {str(one._executor.folder) for one in made}
    assert len(folders) == 2 and all(folder.startswith(f"{place}/") for folder in folders)
    assert [path.name for path in tmp_path.iterdir()] == ["keep"]
