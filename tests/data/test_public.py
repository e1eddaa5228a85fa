"""Public data sets, where several processes want them at once."""

import errno
import multiprocessing
import os
import time
from pathlib import Path

import numpy as np

from diffexp.data.public import read_public


class Slow:
    """Downloads as torchvision does: into the place itself, and refuses a file that is not whole."""

    def __init__(self, root, train, download):
        file = Path(root) / f"{train}.bin"
        if not file.exists() and not download:
            raise RuntimeError("Dataset not found. You can use download=True to download it")
        if not file.exists():
            Path(root).mkdir(exist_ok=True)
            for part in (b"a" * 50, b"b" * 50):
                with file.open("ab") as out:
                    out.write(part)
                time.sleep(0.3)
            with (Path(root) / "downloads").open("a") as out:
                out.write("one\n")
        if file.stat().st_size != 100:
            raise RuntimeError("File not found or corrupted.")
        self.data, self.targets = np.zeros((5, 4, 4), np.uint8), [0] * 5


def read(root):
    train, test = read_public(Slow, root, "two files", (1, 4, 4), 1)
    return len(train) + len(test)


def test_of_several_processes_one_downloads(tmp_path):
    with multiprocessing.get_context("fork").Pool(3) as pool:
        assert pool.map(read, [tmp_path / "data"] * 3, chunksize=1) == [10, 10, 10]
    assert (tmp_path / "data" / "downloads").read_text() == "one\n" * 2  # train and test
    assert sorted(p.name for p in (tmp_path / "data").iterdir()) == ["False.bin", "True.bin", "downloads"]


def test_data_in_a_folder_that_is_only_read_is_read(tmp_path, monkeypatch):
    read(tmp_path)

    real = os.open

    def refused(path, flags, *more, **options):
        if flags & (os.O_CREAT | os.O_RDWR):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(path, flags, *more, **options)

    monkeypatch.setattr(os, "open", refused)
    before = sorted(tmp_path.iterdir())
    assert read(tmp_path) == 10 and sorted(tmp_path.iterdir()) == before
