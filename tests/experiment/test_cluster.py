"""Sweeps on submitit and on Ray: the same rows, a killed job costs itself, a preempted one goes on."""

import json
import os
import signal
import time

import pytest
from commands import QUICK
from test_sweep import QUICKER, rows, sweep

LIBRARY = {"submitit_local": "submitit", "ray": "ray"}
DEADLY = (
    "import os\nfrom dataclasses import dataclass\nfrom diffexp.samplers import DDIM\n"
    "@dataclass(frozen=True, kw_only=True)\nclass Deadly(DDIM):\n"
    "    def run(self, *args):\n        if self.steps == 3: os.kill(os.getpid(), 9)\n"
    "        yield from super().run(*args)\n"
)


def only(folder):
    (found,) = folder.glob("sweep_*")
    return found


@pytest.mark.slow
@pytest.mark.parametrize("launcher", LIBRARY)
def test_jobs_of_a_cluster_are_told_like_those_of_this_machine(tmp_path, launcher):
    pytest.importorskip(LIBRARY[launcher])
    (tmp_path / "deadly.py").write_text(DEADLY)
    args = ["plugins=[deadly]", "sampler._target_=deadly.Deadly", "sampler.steps=2,3,4", "name=x"]
    typed, env = [*QUICKER, *args, f"hydra/launcher={launcher}"], {"PYTHONPATH": str(tmp_path)}
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
@pytest.mark.parametrize("launcher", LIBRARY)
def test_a_preempted_training_is_submitted_again(tmp_path, launcher):
    pytest.importorskip(LIBRARY[launcher])
    quick = [a for a in QUICK if not a.startswith("trainer.max_steps")]
    args = [*quick, "trainer.max_steps=150", "trainer.log_every_n_steps=1", "seed=0", "name=x"]
    process = sweep(*args, f"hydra/launcher={launcher}", cwd=tmp_path, wait=False)
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
    code, out = sweep(*args, cwd=tmp_path)
    assert code == 2 and told in out
    assert list(tmp_path.iterdir()) == []
