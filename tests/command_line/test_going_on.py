"""Runs that go on after more than a kill: with more steps, damaged small files, links in their folder, an
edited checkpoint, a folder that is moved, or no locks.
"""

import errno
import fcntl
import json
import os
import shutil
import subprocess
import sys
import time
from typing import Any

import pytest
import torch
import yaml
from alike import alike
from commands import QUICK, composed
from omegaconf import OmegaConf

from diffexp.errors import DataError, ResourceError
from diffexp.run.folder import Record
from diffexp.run.job import Job
from diffexp.run.resume import cut, gone_back, start
from diffexp.tasks.run import run_job
from diffexp.training import LearningRate

STEPS = ["callbacks.checkpoint.every=2", "trainer.log_every_n_steps=1", "lr.warmup=1"]


def go(folder, *typed):
    """A run in this process, in that folder; its results."""
    overrides = [*QUICK, *STEPS, f"dir={folder}", *typed]
    cfg, choices = composed(overrides)
    return run_job(cfg, folder, overrides, choices)


def told(folder):
    return json.loads((folder / "run.json").read_text())


def rows(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().split("\n") if line]


def saved(folder):
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    """A run of 6 steps that has ended."""
    folder = tmp_path_factory.mktemp("ended") / "run"
    go(folder)
    return folder


@pytest.fixture
def run(ended, tmp_path):
    """A copy of it."""
    shutil.copytree(ended, tmp_path / "run")
    return tmp_path / "run"


def test_a_longer_run_tells_what_its_learning_rate_does(run, capsys):
    go(run, "trainer.max_steps=8")
    out = capsys.readouterr().out
    now = 1e-3 * LearningRate(steps=8, warmup=1, shape="cosine")(6)
    assert f"the learning rate at step 6 goes from 0 to {now:.3g}" in out
    assert "add lr.steps=6 (it stays at 0, which trains nothing), or lr=constant" in out
    change = {"at": 6, "steps": [6, 8], "rate": [0.0, pytest.approx(now)], "lr_steps": 6}
    assert told(run)["lengthened"] == [change] and saved(run)["global_step"] == 8
    go(run, "trainer.max_steps=8", "evaluator.every=1")  # nothing is left to do
    assert "learning rate" not in capsys.readouterr().out and told(run)["lengthened"] == [change]
    go(run, "trainer.max_steps=10", "lr.steps=8")  # as the words propose
    assert "learning rate" not in capsys.readouterr().out and told(run)["lengthened"] == [change]


def test_a_longer_run_may_have_another_shape_of_its_learning_rate(run, capsys):
    go(run, "trainer.max_steps=8", "lr=constant")
    out = capsys.readouterr().out
    assert "the learning rate at step 6 goes from 0 to 0.001\n" in out
    assert saved(run)["optimizer_states"][0]["param_groups"][0]["lr"] == 1e-3
    go(run, "trainer.max_steps=9", "lr=constant")
    assert "learning rate" not in capsys.readouterr().out


@pytest.mark.slow
def test_a_run_that_is_lengthened_before_its_end_may_fall_as_before(tmp_path, capsys):
    go(tmp_path / "run", "trainer.max_steps=4", "lr.steps=6")
    go(tmp_path / "run", "trainer.max_steps=8")
    assert "add lr.steps=6 (it falls as before), or lr=constant" in capsys.readouterr().out


@pytest.mark.slow
def test_a_constant_learning_rate_needs_no_words(tmp_path, capsys):
    go(tmp_path / "run", "lr=constant")
    go(tmp_path / "run", "lr=constant", "trainer.max_steps=8")
    assert "learning rate" not in capsys.readouterr().out and "lengthened" not in told(tmp_path / "run")


def test_the_number_of_devices_and_the_strategy_may_change(run):
    typed = ["trainer.devices=2", "trainer.strategy=ddp", "+trainer.num_nodes=2"]
    cfg, choices = composed([*QUICK, *STEPS, *typed, f"dir={run}"])
    config: Any = OmegaConf.to_container(cfg, resolve=True)
    assert start(Job(config, run, tuple(typed), choices)) == run / "checkpoints" / "last.ckpt"


DAMAGED = [
    b"", b'{"state": "do', b"[1, 2]", b"[" * 100_000, b"\xff\xfe\x00", b"\0" * 99,
    b'{"state": "done", "results": 3}',
]  # fmt: skip


@pytest.mark.parametrize("number", alike(range(len(DAMAGED)), ["0", "3", "6"]))
def test_a_damaged_run_json_is_told_and_the_run_goes_on(run, capsys, number):
    content = DAMAGED[number]
    (run / "run.json").write_bytes(content)
    go(run)
    out = capsys.readouterr().out
    assert ("the run goes on without it" in out) == (b"results" not in content)
    assert "going on from step 6" in out and told(run)["state"] == "done"


@pytest.mark.parametrize("kept", alike([0, 0.1, 0.5, 0.9, "nul", "list", "gone"], ["0.5", "gone"]))
def test_a_damaged_config_is_told_and_taken_from_the_checkpoint(run, capsys, kept):
    file = run / "config.yaml"
    whole = file.read_bytes()
    if isinstance(kept, float | int):
        file.write_bytes(whole[: int(kept * len(whole))])
    elif kept == "gone":
        file.unlink()
    else:
        file.write_bytes({"nul": b"\0" * len(whole), "list": b"- 1\n"}[kept])
    go(run, "trainer.max_steps=7", "lr.steps=6")
    assert "going on from step 6" in capsys.readouterr().out
    assert yaml.safe_load(file.read_text())["trainer"]["max_steps"] == 7


def test_a_damaged_config_does_not_let_another_run_in(run):
    (run / "config.yaml").write_bytes(b"")
    with pytest.raises(ValueError, match="seed 0 -> 1"):
        go(run, "seed=1")


def test_an_ended_run_without_its_config_is_still_known_to_have_ended(run, capsys):
    (run / "config.yaml").write_bytes(b"")
    go(run)
    out = capsys.readouterr().out
    assert "config.yaml is missing or damaged" in out and "already finished" in out


def test_notes_of_checkpoints_that_are_damaged_are_mended(run, capsys):
    for name in ("last", "previous"):
        (run / "checkpoints" / f"{name}.ckpt.json").write_bytes(b"")
    go(run, "trainer.max_steps=7", "lr.steps=6")
    out = capsys.readouterr().out
    assert "the note of the checkpoint was damaged" in out and "going on from step 6" in out


def test_lines_of_other_ends_and_damaged_ones(tmp_path, capsys):
    path = tmp_path / "metrics.jsonl"
    good = ['{"step": 5, "a": 1}', '{"step": 6, "note": "a\x85b\u2028c"}', '{"step": null, "b": 1}']
    bad = ["3", '{"step": "seven"}', "[]", "[" * 100_000, "null", '{"step": 5, "a": tru']
    text = "\n".join([*good, *bad]).encode() + b'\n{"step": 5, "a\xff": 1}\n{"step": 7}\n{"step": 2'
    path.write_bytes(text)
    cut(path, 6)
    assert path.read_text(encoding="utf-8") == "".join(f"{line}\n" for line in good)
    assert f"{len(bad) + 1} damaged lines are left out" in capsys.readouterr().out


def test_a_run_goes_on_with_damaged_lines(run, capsys):
    with (run / "metrics.jsonl").open("ab") as file:
        file.write(b'3\n{"step": "x"}\n\xff\xfe\n')
    go(run, "trainer.max_steps=7", "lr.steps=6")
    assert "3 damaged lines are left out" in capsys.readouterr().out
    assert [row["step"] for row in rows(run) if "train/loss" in row] == list(range(1, 8))


LINKS = [
    "config.yaml", "overrides.yaml", "run.json", "result.json", "divergence.json",
    "checkpoints/.last.ckpt.part", "checkpoints/.last.ckpt.json.part", "checkpoints/.previous.ckpt.part",
    ".metrics.jsonl.part", ".run.json.part", "samples/step_00000007.png",
]  # fmt: skip


@pytest.mark.parametrize("name", alike(LINKS, ["config.yaml", "checkpoints/.last.ckpt.part"]))
def test_a_link_in_a_run_folder_is_replaced(run, name):
    victim = run.parent / "victim"
    victim.write_bytes((run / name).read_bytes() if (run / name).is_file() else b"precious")
    before = victim.read_bytes()
    (run / name).unlink(missing_ok=True)
    (run / name).symlink_to(victim)
    go(run, "trainer.max_steps=7", "lr.steps=6")
    assert victim.read_bytes() == before and told(run)["state"] == "done"


@pytest.mark.parametrize("name", ["checkpoints", "samples", "wandb", "log", "metrics.jsonl", ".lock"])
def test_a_link_that_something_is_written_into_is_refused(run, name):
    victim = run.parent / "victim"
    if (run / name).exists():
        (run / name).rename(victim)
    else:
        victim.mkdir()
    (run / name).symlink_to(victim)
    files = [victim] if victim.is_file() else sorted(p for p in victim.rglob("*") if p.is_file())
    before = [file.read_bytes() for file in files]
    with pytest.raises(DataError, match="this is a link") as error:
        go(run, "trainer.max_steps=7", "lr.steps=6")
    assert str(run / name) in str(error.value)
    after = [victim] if victim.is_file() else sorted(p for p in victim.rglob("*") if p.is_file())
    assert after == files and [file.read_bytes() for file in files] == before


def no_optimizer(c):
    del c["optimizer_states"]


def other_shape(c):
    c["optimizer_states"][0]["state"][0]["exp_avg"] = torch.zeros(3)


def no_moment(c):
    del c["optimizer_states"][0]["state"][0]["exp_avg_sq"]


def other_groups(c):
    c["optimizer_states"][0]["param_groups"] = []


def rate_of_text(c):
    c["optimizer_states"][0]["param_groups"][0]["lr"] = "fast"


def no_loops(c):
    c["loops"] = {}


def loops_of_text(c):
    c["loops"]["fit_loop"]["epoch_loop.batch_progress"]["total"]["processed"] = "many"


def loops_below_zero(c):
    c["loops"]["fit_loop"]["epoch_loop.batch_progress"]["total"]["processed"] = -3


def weights_of_another_shape(c):
    c["trained"]["denoiser.network.conv_in.weight"] = torch.zeros(1)


def no_weights(c):
    c["trained"] = {}


def meter_of_text(c):
    c["diffexp"]["meter"] = {"sums": "many", "parts": [], "columns": []}


def meter_of_another_size(c):
    c["diffexp"]["meter"] = {"sums": torch.zeros(3), "parts": ["a"], "columns": []}


def no_version(c):
    del c["pytorch-lightning_version"]


def schedule_of_text(c):
    c["lr_schedulers"][0]["last_epoch"] = "six"


def no_schedule(c):
    del c["lr_schedulers"]


def step_of_text(c):
    c["global_step"] = "six"


def no_step(c):
    del c["global_step"]


def callbacks_of_text(c):
    c["callbacks"]["Best"] = {"value": "good", "seen": None}


CHANGES = [
    no_optimizer, other_shape, no_moment, other_groups, rate_of_text, no_loops, loops_of_text,
    loops_below_zero, weights_of_another_shape, no_weights, meter_of_text, meter_of_another_size, no_version,
    schedule_of_text, no_schedule, step_of_text, no_step, callbacks_of_text,
]  # fmt: skip


@pytest.mark.parametrize(
    "change",
    alike(CHANGES, ["no_optimizer", "loops_of_text", "step_of_text"]),
)
def test_an_edited_checkpoint_is_named(run, change):
    path = run / "checkpoints" / "last.ckpt"
    checkpoint = saved(run)
    change(checkpoint)
    torch.save(checkpoint, path)
    (run / "checkpoints" / "last.ckpt.json").unlink()
    with pytest.raises(DataError, match="training cannot go on from this checkpoint") as error:
        go(run, "trainer.max_steps=8", "lr.steps=6")
    assert str(path) in str(error.value) and error.value.code == 3


def test_an_error_of_the_training_itself_stays_what_it_is(run, monkeypatch):
    from diffexp.training import DiffusionModule

    def broken(self, batch, batch_idx):
        raise KeyError("of the training")

    monkeypatch.setattr(DiffusionModule, "training_step", broken)
    with pytest.raises(KeyError, match="of the training"):
        go(run, "trainer.max_steps=8", "lr.steps=6")


def test_a_run_begins_where_the_file_system_has_no_locks(tmp_path, monkeypatch, capsys):
    def none(*args):
        raise OSError(errno.ENOSYS, "no locks")

    monkeypatch.setattr(fcntl, "flock", none)
    monkeypatch.setattr(fcntl, "lockf", none)
    go(tmp_path / "run")
    assert "this file system has no locks" in capsys.readouterr().err
    assert told(tmp_path / "run")["state"] == "done"


def test_a_clock_that_is_set_back_gives_no_negative_seconds(tmp_path, monkeypatch):
    with Record(tmp_path / "run", {}, []) as record:
        monkeypatch.setattr(time, "time", lambda: 0.0)
        record.results["a"] = 1
    assert 0 <= told(tmp_path / "run")["seconds"] < 60


def test_of_which_checkpoint_the_rate_is_to_be_halved(tmp_path, capsys):
    """Of one before the way back, and of none after it."""
    file = tmp_path / "divergence.json"
    assert gone_back(tmp_path, 30) == (None, False)
    file.write_text('{"step": 36, "back_to": 30}')
    assert [gone_back(tmp_path, step)[1] for step in (20, 30, 31, 40)] == [True, True, False, False]
    for content in (b"", b"[]", b'{"step": 36', b'{"step": 36}', b'{"back_to": null}', b'{"back_to": "x"}'):
        file.write_bytes(content)
        assert gone_back(tmp_path, 20) == (None, False)
    assert capsys.readouterr().out.count("the run goes on without it") == 3


def test_a_folder_that_is_moved_away_is_told_and_not_made_again(tmp_path):
    """Without a write before the end."""
    new = tmp_path / "elsewhere" / "moved"
    new.parent.mkdir()
    with (
        pytest.raises(ResourceError, match="the run folder was moved") as error,
        Record(tmp_path / "run", {}, []),
    ):
        os.rename(tmp_path / "run", new)
    assert str(new) in str(error.value) and str(tmp_path / "run") in str(error.value)
    assert error.value.code == 5 and not (tmp_path / "run").exists() and told(new)["state"] == "done"


@pytest.mark.parametrize("at", alike([1, 2, 6], ["2"]))
def test_a_run_whose_folder_is_moved_stops_and_can_be_gone_on_with(tmp_path, monkeypatch, at):
    from diffexp.training.progress import TrainingProgress

    (tmp_path / "elsewhere").mkdir()
    new, kept = tmp_path / "elsewhere" / "moved", TrainingProgress.on_train_batch_end

    def moving(self, trainer, *args):
        kept(self, trainer, *args)
        if trainer.global_step == at and not new.exists():
            os.rename(tmp_path / "run", new)

    with (
        monkeypatch.context() as patch,
        pytest.raises(ResourceError, match="the run folder was moved") as error,
    ):
        patch.setattr(TrainingProgress, "on_train_batch_end", moving)
        go(tmp_path / "run")
    assert str(new) in str(error.value) and not (tmp_path / "run").exists()
    assert "the run folder was moved" in told(new)["state"] and (new / "overrides.yaml").exists()
    go(new)
    assert saved(new)["global_step"] == 6 and told(new)["state"] == "done"


FULL = """
import logging, pathlib, resource
from diffexp.run.folder import Record
with Record(pathlib.Path("run"), {}, []) as record:
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    logging.getLogger("diffexp").error("one")
    logging.getLogger("diffexp").error("two")
"""


def test_a_disk_that_is_full_at_the_end_is_told_once(tmp_path):
    done = subprocess.run([sys.executable, "-c", FULL], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode != 0 and "ResourceError: cannot be written: File too large" in done.stderr
    assert done.stderr.count("the log cannot be written: File too large") == 1
    assert "Logging error" not in done.stderr


def test_a_full_disk_has_room_for_the_last_words_of_a_run(tmp_path, monkeypatch):
    """run.json is written over where it lies, for there no room is needed."""
    opened = os.open

    def full(path, flags, *more, **options):
        if flags & os.O_CREAT:
            raise OSError(errno.ENOSPC, "No space left on device")
        return opened(path, flags, *more, **options)

    with pytest.raises(ResourceError, match="the disk"), Record(tmp_path / "run", {}, []) as record:
        record.results["a"] = "x" * 10_000
        monkeypatch.setattr(os, "open", full)
        raise ResourceError("the disk is full")
    monkeypatch.undo()
    assert told(tmp_path / "run")["state"] == "ResourceError: the disk is full"
    assert (tmp_path / "run" / "run.json").stat().st_size == 4096
    last = json.loads((tmp_path / "run" / "result.json").read_text())
    assert (last["status"], last["exit_code"], last["error"]["what"]) == ("failed", 5, "the disk is full")


def test_a_folder_that_is_numbered_anew_has_not_moved(tmp_path, monkeypatch):
    """As some file systems of users' programs do."""
    with Record(tmp_path / "run", {}, []) as record:
        monkeypatch.setattr(os.path, "samestat", lambda a, b: False)
        record.check()
    assert told(tmp_path / "run")["state"] == "done"
