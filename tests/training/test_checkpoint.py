"""Checkpoints are whole or not there, and damaged ones are not loaded."""

import errno
import json
import os
import pickle
import signal
import stat
import subprocess
import sys
import time

import pytest
import torch
from commands import QUICK, composed

from diffexp.errors import DataError, ResourceError
from diffexp.model.checkpoint import latest, read_checkpoint, write
from diffexp.tasks.run import run_job
from diffexp.training import AtomicCheckpointIO

GOOD = {"diffexp": {"step": 3}, "global_step": 3, "state_dict": {"w": torch.arange(1000.0)}}


def test_round_trip_leaves_nothing_beside(tmp_path):
    path = tmp_path / "a" / "last.ckpt"
    write(path, GOOD)
    write(path, GOOD | {"global_step": 4})
    assert torch.equal(read_checkpoint(path)["state_dict"]["w"], GOOD["state_dict"]["w"])
    names = ["last.ckpt", "last.ckpt.json", "previous.ckpt", "previous.ckpt.json"]
    assert sorted(p.name for p in path.parent.iterdir()) == names
    told = json.loads((path.parent / "last.ckpt.json").read_text())
    assert told["step"] == 4 and told["bytes"] == path.stat().st_size


def test_every_damage_is_seen(tmp_path):
    path = tmp_path / "last.ckpt"
    write(path, GOOD)
    whole = path.read_bytes()
    generator = torch.Generator().manual_seed(0)
    for i in range(250):
        at = int(torch.randint(len(whole), (), generator=generator))
        if i % 5 == 0:
            path.write_bytes(whole[:at])
        else:
            path.write_bytes(whole[:at] + bytes([whole[at] ^ (1 << (i % 8))]) + whole[at + 1 :])
        with pytest.raises(DataError, match=r"damaged \([\d,]+ bytes, expected"):
            read_checkpoint(path)
    path.write_bytes(whole)
    read_checkpoint(path)


def test_power_failure_between_the_two_files(tmp_path):
    """The digest is replaced first: the file of before is still known to be good."""
    path = tmp_path / "last.ckpt"
    write(path, GOOD)
    before = path.read_bytes()
    write(path, GOOD | {"global_step": 4})
    path.write_bytes(before)
    assert read_checkpoint(path)["global_step"] == 3


def test_missing_file_names_its_neighbours(tmp_path):
    write(tmp_path / "last.ckpt", GOOD)
    with pytest.raises(DataError, match=r"no checkpoint .*first\.ckpt[\s\S]*there are last\.ckpt"):
        read_checkpoint(tmp_path / "first.ckpt")


class Evil:
    """Runs a command when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def test_code_and_strangers_are_refused(tmp_path):
    evil = Evil(tmp_path / "ran")
    for name, content in (("evil", evil), ("plain", {"a": 1})):
        torch.save(content, tmp_path / f"{name}.ckpt")
    with (tmp_path / "pickle.ckpt").open("wb") as file:
        pickle.dump(evil, file)
    (tmp_path / "empty.ckpt").touch()
    for name in ("evil", "plain", "pickle", "empty"):
        with pytest.raises(DataError, match=r"not a readable checkpoint|not a checkpoint of diffexp"):
            read_checkpoint(tmp_path / f"{name}.ckpt")
    assert not (tmp_path / "ran").exists()


def test_what_cannot_be_written_is_an_error_and_keeps_the_old_file(tmp_path):
    path = tmp_path / "last.ckpt"
    write(path, GOOD)
    code = (
        "import resource, signal, torch, pathlib\n"
        "from diffexp.model.checkpoint import write\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        f"write(pathlib.Path({str(path)!r}), {{'w': torch.zeros(1_000_000)}})\n"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "could not be written" in told.stderr and "ResourceError" in told.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["last.ckpt", "last.ckpt.json"]
    assert read_checkpoint(path)["global_step"] == 3
    (tmp_path / "file").touch()
    with pytest.raises(ResourceError, match="could not be written"):
        write(tmp_path / "file" / "last.ckpt", GOOD)


@pytest.mark.slow
def test_kill_while_writing_never_leaves_a_torn_file(tmp_path):
    path = tmp_path / "last.ckpt"
    code = (
        "import torch, pathlib, itertools\n"
        "from diffexp.model.checkpoint import write\n"
        "for n in itertools.count():\n"
        f"    write(pathlib.Path({str(path)!r}),"
        " {'diffexp': {}, 'global_step': n, 'w': torch.full((300_000,), float(n))})\n"
        "    print(n, flush=True)\n"
    )
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(float(torch.rand((), generator=generator)) * 0.1)
            process.send_signal(signal.SIGKILL)
        found = read_checkpoint(path)
        assert (found["w"] == found["global_step"]).all()


def test_in_the_background_a_copy_is_written_and_a_failure_raised(tmp_path):
    io, weights = AtomicCheckpointIO(background=True), torch.zeros(500_000)
    io.save_checkpoint(GOOD | {"w": weights}, tmp_path / "last.ckpt")
    weights += 1  # training goes on
    io.wait()
    assert (read_checkpoint(tmp_path / "last.ckpt")["w"] == 0).all()
    (tmp_path / "file").touch()
    io.save_checkpoint(GOOD, tmp_path / "file" / "last.ckpt")
    with pytest.raises(ResourceError, match="could not be written"):
        while not io.ended:  # asked at every step
            time.sleep(0.01)
        io.wait()
    io.save_checkpoint(GOOD, tmp_path / "last.ckpt")
    io.teardown()
    assert read_checkpoint(tmp_path / "last.ckpt")["global_step"] == 3


def test_a_run_saved_in_the_background_is_the_same(tmp_path):
    found = []
    for background in ("false", "true"):
        folder = tmp_path / background
        typed = [*QUICK, f"callbacks.checkpoint.background={background}", "callbacks.checkpoint.every=2"]
        cfg, choices = composed([*typed, f"dir={folder}"])
        run_job(cfg, folder, typed, choices)
        found.append(read_checkpoint(folder / "checkpoints" / "last.ckpt")["trained"])
        assert read_checkpoint(folder / "checkpoints" / "previous.ckpt")["global_step"] == 4
    one, other = found
    assert list(one) == list(other) and all(torch.equal(one[k], other[k]) for k in one)


def refused(code, only_folders=False):
    """A call of the system as a file system answers it that does not have it."""

    def call(*args):
        if only_folders and not stat.S_ISDIR(os.fstat(args[0]).st_mode):
            return None
        raise OSError(code, os.strerror(code))

    return call


@pytest.mark.parametrize("code", [errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.EXDEV])
def test_without_hard_links_the_checkpoint_before_is_copied(tmp_path, monkeypatch, capsys, code):
    monkeypatch.setattr(os, "link", refused(code))
    monkeypatch.setattr("diffexp.notice._said", set())
    path = tmp_path / "last.ckpt"
    for step in (3, 4, 5):
        write(path, GOOD | {"global_step": step})
    assert capsys.readouterr().err.count("this file system has no hard links") == 1
    assert [read_checkpoint(tmp_path / f"{n}.ckpt")["global_step"] for n in ("last", "previous")] == [5, 4]
    assert os.stat(tmp_path / "previous.ckpt").st_ino != os.stat(path).st_ino
    assert len(list(tmp_path.iterdir())) == 4


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOTSUP, errno.ENOSYS])
def test_a_file_system_that_flushes_no_folder_is_told_once(tmp_path, monkeypatch, capsys, code):
    monkeypatch.setattr(os, "fsync", refused(code, only_folders=True))
    monkeypatch.setattr("diffexp.notice._said", set())
    for step in (3, 4):
        write(tmp_path / "last.ckpt", GOOD | {"global_step": step})
    assert capsys.readouterr().err.count("cannot flush a folder") == 1
    assert read_checkpoint(tmp_path / "last.ckpt")["global_step"] == 4


NAMES = [
    ".last.ckpt.part", ".last.ckpt.json.part", ".previous.ckpt.part", ".previous.ckpt.json.part",
    "last.ckpt.json", "previous.ckpt", "previous.ckpt.json",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_written_through_a_link(tmp_path, name):
    folder, victim = tmp_path / "checkpoints", tmp_path / "victim"
    victim.write_bytes(b"precious")
    write(folder / "last.ckpt", GOOD)
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(victim)
    for step in (4, 5):
        write(folder / "last.ckpt", GOOD | {"global_step": step})
    assert victim.read_bytes() == b"precious"
    assert read_checkpoint(folder / "last.ckpt")["global_step"] == 5
    assert not any(p.is_symlink() for p in folder.iterdir())


def test_a_folder_that_is_a_link_is_refused(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "checkpoints").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DataError, match=r"this is a link[\s\S]*checkpoints"):
        write(tmp_path / "checkpoints" / "last.ckpt", GOOD)
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_what_killed_writers_have_left_is_removed(tmp_path):
    for name in ("last.ckpt", "last.ckpt.0123", "previous.ckpt.0123", "last.ckpt.json.01"):
        (tmp_path / f".{name}.part").write_bytes(b"half")
    write(tmp_path / "last.ckpt", GOOD)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["last.ckpt", "last.ckpt.json"]


@pytest.mark.parametrize("note", [b"", b'{"sha256": "ab', b"[]", b"[" * 100_000, b"\xff\xfe", b"{}"])
def test_a_note_that_was_cut_short_is_written_anew_for_a_whole_checkpoint(tmp_path, capsys, note):
    path = tmp_path / "last.ckpt"
    write(path, GOOD)
    (tmp_path / "last.ckpt.json").write_bytes(note)
    assert latest(tmp_path) == path and "the note of the checkpoint was damaged" in capsys.readouterr().out
    assert read_checkpoint(path)["global_step"] == 3
    (tmp_path / "last.ckpt.json").write_bytes(note)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1  # in the weights: only the sums of the archive can tell
    path.write_bytes(data)
    with pytest.raises(DataError, match="the note of the checkpoint is damaged"):
        latest(tmp_path)
