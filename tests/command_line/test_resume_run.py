"""Runs that are stopped, killed or damaged, and go on as if nothing had been."""

import json
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch
import yaml
from commands import QUICK
from forked import Started, finished
from PIL import Image

from diffexp.errors import ConfigError, DataError
from diffexp.model.restore import restore
from diffexp.run.resume import cut

LONG = [
    *(a for a in QUICK if not a.startswith(("trainer.", "evaluator.every"))),
    "trainer.max_steps=80", "callbacks.checkpoint.every=10", "trainer.log_every_n_steps=5",
    "trainer.accumulate_grad_batches=2", "evaluator.every=2", "loader.batch_size=32", "loader.flip=true",
    "times=importance", "times.history=2", "schedule.T=20", "model.bpd_terms=3",
]  # fmt: skip


def wait_for(path, process):
    end = time.time() + 120
    while not path.exists() and process.poll() is None and time.time() < end:
        time.sleep(0.005)
    assert path.exists(), process.communicate()[0]


def weights(folder):
    told = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    parts = {"trained": told["trained"], "objective": told["objective"]}
    parts |= {f"ema.{i}": state for i, state in enumerate(told["ema"])}
    return {f"{part}.{name}": value for part, state in parts.items() for name, value in state.items()}


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def told(folder, key="train/loss"):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [(line["step"], line[key]) for line in lines if key in line]


def reached(folder):
    """The last step that metrics.jsonl tells of."""
    path = folder / "metrics.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return max([json.loads(line)["step"] for line in lines if line.endswith("}")], default=0)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    cwd = tmp_path_factory.mktemp("unbroken")
    code, out = finished(*LONG, "dir=run", cwd=cwd)
    assert code == 0, out
    seen = weights(cwd / "run")["objective.times.seen"]
    assert seen.min() > 2 and seen.sum() == 80 * 2 * 32  # of importance sampling, which is past its start
    return cwd / "run"


@pytest.mark.parametrize(
    "name",
    [
        "SIGTERM",
        pytest.param("SIGINT", marks=pytest.mark.slow),
        pytest.param("SIGUSR1", marks=pytest.mark.slow),
    ],
)
def test_a_signal_saves_and_the_run_goes_on_to_the_same_end(unbroken, tmp_path, name):
    process = Started(*LONG, "dir=run", cwd=tmp_path)
    wait_for(tmp_path / "run" / "metrics.jsonl", process)
    process.send_signal(getattr(signal, name))
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 75, out
    assert f"stopped by {name} at step" in out and f"run.py resume={tmp_path / 'run'} goes on" in out
    assert json.loads((tmp_path / "run" / "run.json").read_text())["state"].startswith("Interrupted")
    code, out = finished("resume=run", cwd=tmp_path)
    assert code == 0 and "going on from step" in out, out
    assert equal(weights(tmp_path / "run"), weights(unbroken))
    assert told(tmp_path / "run") == told(unbroken)
    for key in ("val/loss", "val/bpd"):
        assert told(tmp_path / "run", key) == told(unbroken, key) != []


@pytest.mark.parametrize("kills", [(35,), pytest.param((10, 35, 66), marks=pytest.mark.slow)])
def test_a_run_that_is_killed_again_and_again_comes_to_the_same_end(unbroken, tmp_path, kills):
    """Between two checkpoints; just after one, and in the evaluation at the end of an epoch."""
    for at in kills:
        process = Started(*LONG, "dir=run", cwd=tmp_path)
        while process.poll() is None and reached(tmp_path / "run") < at:
            time.sleep(0.001)
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL
    code, out = finished(*LONG, "dir=run", cwd=tmp_path)
    assert code == 0 and "going on from step" in out
    assert equal(weights(tmp_path / "run"), weights(unbroken)) and told(tmp_path / "run") == told(unbroken)


@pytest.mark.slow
def test_a_killed_run_leaves_no_lock_with_the_workers_of_its_loader(tmp_path):
    """Here they are stopped, as if they slept in a read, and are there yet when the run goes on."""
    (tmp_path / "images").mkdir()
    for i in range(200):
        Image.new("L", (8, 8), i).save(tmp_path / "images" / f"{i}.png")
    args = [
        *(a for a in QUICK if not a.startswith("metrics.")), "metrics=none", "conditioning=none",
        "guidance.scale=1", "data=folder", "data.path=images", "data.size=8", "data.mode=L",
        "data.stream=true", "loader.batch_size=4", "loader.workers=1", "trainer.max_steps=40",
        "callbacks.checkpoint.every=5", "trainer.log_every_n_steps=1", "dir=run",
    ]  # fmt: skip
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # which the system sends to the stopped when
    process = Started(*args, cwd=tmp_path)  # their parent dies
    signal.signal(signal.SIGHUP, before)
    while process.poll() is None and reached(tmp_path / "run") < 7:
        time.sleep(0.001)
    children = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True).stdout
    process.kill()
    process.wait()
    workers = [int(number) for number in children.split()]
    for number in workers:
        os.kill(number, signal.SIGSTOP)
    try:
        code, out = finished(*args, cwd=tmp_path)
        there = [Path(f"/proc/{number}").exists() for number in workers]
    finally:
        for number in workers:
            os.kill(number, signal.SIGKILL)
    process.communicate()
    assert code == 0 and "going on from step" in out, out
    assert there and all(there)


def test_a_run_that_has_ended_says_so(unbroken, tmp_path):
    shutil.copytree(unbroken, tmp_path / "run")
    before = (tmp_path / "run" / "run.json").read_bytes()
    code, out = finished("resume=run", cwd=tmp_path)
    assert code == 0 and "already finished" in out
    assert (tmp_path / "run" / "run.json").read_bytes() == before


def test_more_steps_go_on_from_the_end(unbroken, tmp_path):
    shutil.copytree(unbroken, tmp_path / "run")
    code, out = finished("resume=run", "trainer.max_steps=90", cwd=tmp_path)
    assert code == 0 and "going on from step 80" in out
    assert restore(tmp_path / "run").step == 90


@pytest.mark.parametrize(
    ("typed", "text"),
    [
        (["schedule=linear"], "schedule"),
        (["seed=1"], "seed 0 -> 1"),
        (["network.channels=12"], "network.channels 8 -> 12"),
        (["resume=never"], "there is a run in this folder"),
        (["resume=nowhere"], "there is no run in nowhere"),
    ],
)
def test_another_run_is_not_mixed_into_the_folder(unbroken, tmp_path, typed, text):
    shutil.copytree(unbroken, tmp_path / "run")
    before = weights(unbroken)
    code, out = finished(*LONG, "dir=run", *typed, cwd=tmp_path)
    assert code == 2 and text in out, out
    assert equal(weights(tmp_path / "run"), before)


def test_a_run_of_an_earlier_version_goes_on(unbroken, tmp_path):
    """Which had not yet a key of today's, and a class in another place; what is typed must be its default."""
    shutil.copytree(unbroken, tmp_path / "run")
    config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    config["loader"]["_target_"] = "diffexp.data.DataModule"
    del config["model"]["clip_norm"], config["snr"]["shift"]
    (tmp_path / "run" / "config.yaml").write_text(yaml.safe_dump(config))
    code, out = finished(*LONG, "dir=run", "snr.shift=2", cwd=tmp_path)
    assert code == 2 and "snr.shift None -> 2" in out
    code, out = finished("resume=run", "trainer.max_steps=90", cwd=tmp_path)
    assert code == 0 and "going on from step 80" in out, out


def test_a_damaged_checkpoint_is_replaced_by_the_one_before(unbroken, tmp_path, capsys):
    folder = tmp_path / "run"
    shutil.copytree(unbroken, folder)
    last = folder / "checkpoints" / "last.ckpt"
    assert restore(folder).step == 80
    data = bytearray(last.read_bytes())
    draw = random.Random(0)
    for _ in range(20):  # bits that turn over
        torn = bytearray(data)
        torn[draw.randrange(len(torn))] ^= 1 << draw.randrange(8)
        last.write_bytes(torn)
        assert restore(folder).step == 70
    for _ in range(20):  # ends that are missing
        last.write_bytes(data[: draw.randrange(len(data))])
        assert restore(folder).step == 70
    said = capsys.readouterr().out
    assert "the checkpoint is damaged" in said and "using previous.ckpt (step 70) in its place" in said
    (folder / "checkpoints" / "previous.ckpt").write_bytes(b"")
    with pytest.raises(DataError, match="damaged"):
        restore(folder)


def test_a_folder_in_use_is_left_alone(unbroken, tmp_path):
    from diffexp.run.results import alone

    shutil.copytree(unbroken, tmp_path / "run")
    with alone(tmp_path / "run"):
        code, out = finished("resume=run", "trainer.max_steps=90", cwd=tmp_path)
    assert code == 2 and f"process {os.getpid()} on" in out
    with alone(tmp_path / "x"), pytest.raises(ConfigError, match="another process"), alone(tmp_path / "x"):
        pass


def test_lines_after_the_checkpoint_are_cut(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 5, "a": 1}\n{"step": 10, "a": 2}\n{"step": 15, "a": 3}\n{"step": 2')
    cut(path, 10)
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [5, 10]


def test_ctrl_c_twice_stops_at_once(tmp_path):
    """The second comes before the step has ended: here, while the signals wait in a sampling that is long."""
    args = [*LONG, "dir=run", "evaluator.every=1", "metrics.n=20000", "sampler.steps=1000", "schedule.T=1000"]
    process = Started(*args, cwd=tmp_path)
    while process.poll() is None and reached(tmp_path / "run") < 20:  # of the 22 of an epoch
        time.sleep(0.01)
    time.sleep(3)
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 130 and "stopped" in out and "Traceback" not in out
