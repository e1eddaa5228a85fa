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

from diffexp.experiment import slurm

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
