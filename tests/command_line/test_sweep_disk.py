"""Sweeps on a disk that is full, or cannot be written: a clear line, nothing lost, nothing twice."""

import subprocess

import pytest
from test_sweep import QUICKER, rows, sweep


@pytest.fixture
def disk(tmp_path):
    """disk(options) mounts or remounts a file system in memory; its folder is disk.folder."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(options):
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "none", str(folder)], check=True, capture_output=True
        )

    try:
        mount("size=20m")
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("may not mount")
    mount.folder = folder
    yield mount
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_costs_only_what_was_not_done(disk):
    folder = disk.folder / "sweep"
    args = [*QUICKER, "sampler.steps=2,3,4,5", f"hydra.sweep.dir={folder}"]
    filler = disk.folder / "filler"
    code, out = sweep(*args[:-2], "sampler.steps=2", args[-1], cwd=disk.folder)  # one is done before
    assert code == 0, out
    filler.write_bytes(bytes(20 * 2**20 - used(disk.folder) - 40_000))
    code, out = sweep(*args, cwd=disk.folder)
    assert code in (1, 5), out
    assert "No space left on device" in out and "Traceback" not in out
    before = [row["id"] for row in rows(folder) if row["state"] == "done"]
    assert 1 <= len(before) < 4
    filler.unlink()
    code, out = sweep(*args, cwd=disk.folder)
    assert code == 0 and f"4 jobs, {len(before)} of them done before" in out, out
    done = [row["id"] for row in rows(folder) if row["state"] == "done"]
    assert len(done) == len(set(done)) == 4 and done[: len(before)] == before
    assert "| 2 | 3 | 4 | 5 |" in (folder / "table.md").read_text()


def test_a_folder_that_cannot_be_written_is_told_before_the_first_job(disk):
    folder = disk.folder / "sweep"
    args = [*QUICKER, "sampler.steps=2,3", f"hydra.sweep.dir={folder}"]
    assert sweep(*args[:-2], "sampler.steps=2", args[-1], cwd=disk.folder)[0] == 0
    before = (folder / "results.jsonl").read_text()
    disk("remount,ro")
    code, out = sweep(*args, cwd=disk.folder.parent)
    assert code == 5 and "Read-only file system" in out and "Traceback" not in out, out
    assert (folder / "results.jsonl").read_text() == before
    disk("remount,rw")


def used(folder):
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*"))
