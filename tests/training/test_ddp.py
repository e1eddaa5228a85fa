"""Two processes on one machine, by the command line."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from commands import CONF, QUICK


@pytest.mark.slow
def test_two_processes_train_and_measure_as_one(tmp_path):
    told = {}
    for ranks in (1, 2):
        folder = tmp_path / f"of{ranks}"
        typed = [
            *QUICK, "trainer=ddp", "trainer.accelerator=cpu", f"trainer.devices={ranks}",
            "trainer.max_steps=60", "times=importance", "schedule.T=50",
            "evaluator.every=1", "trainer.log_every_n_steps=20", f"dir={folder}",
        ]  # fmt: skip
        done = subprocess.run(
            [sys.executable, str(CONF.parent / "run.py"), *typed],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        told[ranks] = json.loads((folder / "run.json").read_text())
        state = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        assert state["objective.times.seen"].sum() == 60 * 64  # the losses of both
        lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        assert [line["step"] for line in lines if "train/loss" in line] == [20, 40, 60]
        assert sum("val/fid_digits64" in line for line in lines) == 2
    one, two = (told[ranks]["results"] for ranks in (1, 2))
    assert two["cards"]["fid_digits64"]["n"] == one["cards"]["fid_digits64"]["n"] == 20
    # the same images, times, noise and dropped labels; sums in another order
    assert two["val/loss"] == pytest.approx(one["val/loss"], rel=1e-3)


@pytest.mark.slow
def test_a_rank_that_dies_ends_the_others_and_the_run_goes_on(tmp_path):
    typed = [
        *QUICK, "trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "trainer.max_steps=400",
        "callbacks.checkpoint.every=10", "trainer.log_every_n_steps=1", "dir=run",
    ]  # fmt: skip
    command = [sys.executable, str(CONF.parent / "run.py"), *typed]
    first = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    log, end = tmp_path / "run" / "metrics.jsonl", time.time() + 120
    while time.time() < end and not (log.exists() and len(log.read_text().splitlines()) > 25):
        time.sleep(0.05)
    found = subprocess.run(["pgrep", "-P", str(first.pid)], capture_output=True, text=True).stdout.split()
    (other,) = [p for p in found if b"LOCAL_RANK=1" in Path(f"/proc/{p}/environ").read_bytes()]
    os.kill(int(other), signal.SIGKILL)
    _, told = first.communicate(timeout=60)
    assert first.returncode == 75 and "another rank has died" in told and "goes on" in told, told
    again = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert again.returncode == 0 and "going on from step" in again.stdout, again.stderr
    steps = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line["step"] for line in steps if "train/loss" in line] == list(range(1, 401))
