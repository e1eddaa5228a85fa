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
        state = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["objective"]
        assert state["times.seen"].sum() == 60 * 64  # the losses of both
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


@pytest.mark.slow
def test_a_run_of_two_ranks_goes_on_between_two_lines_on_one_or_two(tmp_path):
    """Its next line counts what both ranks had seen before."""
    typed = [
        *QUICK, "trainer=ddp", "trainer.accelerator=cpu", "trainer.log_every_n_steps=10", "lr=constant",
        "times=importance", "schedule.T=50",
    ]  # fmt: skip

    def run(folder, ranks, steps):
        more = [f"trainer.devices={ranks}", f"trainer.max_steps={steps}", f"dir={folder}"]
        command = [sys.executable, str(CONF.parent / "run.py"), *typed, *more]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        lines = [json.loads(line) for line in (tmp_path / folder / "metrics.jsonl").read_text().splitlines()]
        keys = ("train/loss", "by_t/", "by_snr/")
        return [{k: v for k, v in line.items() if k.startswith(keys)} for line in lines], done.stdout

    whole, _ = run("whole", 2, 20)
    for ranks in (2, 1):
        run(f"on{ranks}", 2, 15)
        found, out = run(f"on{ranks}", ranks, 20)
        assert "going on from step 15" in out and ("on 1 ranks in place of 2" in out) == (ranks == 1)
        for a, b in zip(found[:2], whole[:2], strict=True):
            assert len(a) > 10 and a == pytest.approx(b, rel=2e-3)


@pytest.mark.slow
def test_a_rank_that_is_starting_dies_with_the_first(tmp_path):
    """It would sleep until torch's time-out. The first is killed as soon as the other is there, and later."""
    typed = [*QUICK, "trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "trainer.max_steps=4000"]
    for seconds in (0.0, 0.5, 3.0):
        command = [sys.executable, str(CONF.parent / "run.py"), *typed, f"dir=run{seconds}"]
        first = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end, other = time.time() + 120, ""
        while time.time() < end and not other:
            told = ["pgrep", "-P", str(first.pid), "-f", "run.py"]
            other = subprocess.run(told, capture_output=True, text=True).stdout.strip()
        time.sleep(seconds)
        first.kill()
        first.wait()
        begun = time.monotonic()
        while _lives(int(other)) and time.monotonic() < begun + 60:
            time.sleep(0.05)
        assert not _lives(int(other))
        assert time.monotonic() - begun < (20 if seconds < 1 else 2)  # it loads, and then looks


def _lives(number):
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.slow
def test_two_ranks_end_at_the_same_step_when_their_time_is_over(tmp_path):
    typed = [
        *QUICK, "trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "trainer.max_time=2s",
        "trainer.max_steps=100000", "dir=run",
    ]  # fmt: skip
    command = [sys.executable, str(CONF.parent / "run.py"), *typed]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    cost = json.loads((tmp_path / "run" / "run.json").read_text())["results"]["budget"]
    assert cost["ended_by"] == "max_time" and cost["images"] == 64 * cost["steps"] and cost["seconds"] >= 2
    assert cost["flops"] == cost["images"] * cost["flops_per_image"]
