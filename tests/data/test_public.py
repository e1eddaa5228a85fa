"""Public data sets, where several processes want them at once."""

import errno
import os
import struct
import time
from pathlib import Path

import numpy as np
import pytest
from forked import PROCESSES

from diffexp.data import CIFAR10, MNIST, FashionMNIST
from diffexp.data.public import read_public
from diffexp.errors import DataError


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
    with PROCESSES.Pool(3) as pool:
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


def idx(file, array):
    """A file in the format of MNIST."""
    file.parent.mkdir(parents=True, exist_ok=True)
    head = struct.pack(">HBB", 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    file.write_bytes(head + array.tobytes())


@pytest.fixture
def mnist(tmp_path):
    """As many images as MNIST needs to be split, of noise."""
    for part, count in (("train", 5100), ("t10k", 60)):
        images = np.random.default_rng(0).integers(0, 256, (count, 28, 28), dtype=np.uint8)
        idx(tmp_path / "MNIST" / "raw" / f"{part}-images-idx3-ubyte", images)
        idx(
            tmp_path / "MNIST" / "raw" / f"{part}-labels-idx1-ubyte", (np.arange(count) % 10).astype(np.uint8)
        )
    return tmp_path


def tree(folder):
    return {p: p.stat().st_mtime_ns for p in [folder, *folder.rglob("*")]}


def test_without_download_data_is_read_and_nothing_is_written(mnist):
    before = tree(mnist)
    data = MNIST(str(mnist), download=False)
    data.check()
    assert [len(data.split(s)) for s in ("train", "val", "test")] == [100, 5000, 60] and tree(mnist) == before
    assert data.fingerprint("train") == MNIST(str(mnist)).fingerprint("train")


@pytest.mark.parametrize("kind", [MNIST, FashionMNIST, CIFAR10])
def test_without_download_what_is_missing_is_told_and_nothing_is_written(tmp_path, kind, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("the network was asked")

    monkeypatch.setattr("socket.socket.connect", refuse)
    monkeypatch.setattr("socket.getaddrinfo", refuse)
    for root in (tmp_path, tmp_path / "not" / "there"):
        with pytest.raises(
            DataError, match=r"is not here, .* to be downloaded: data.download=false"
        ) as error:
            kind(str(root), download=False).check()
        assert error.value.where == str(root) and "DIFFEXP_DATA" in error.value.do
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("download", [True, False])
@pytest.mark.parametrize(
    ("part", "array", "told"),
    [
        ("train-labels-idx1", np.full(5100, 200, np.uint8), "labels are not 5100 of the numbers 0 to 9"),
        ("train-labels-idx1", np.zeros(5000, np.uint8), "labels are not 5100 of the numbers"),
        ("train-images-idx3", np.zeros((5100, 8, 8), np.uint8), r"\(5100, 1, 8, 8\), not uint8"),
        ("train-images-idx3", np.zeros(5100, np.uint8), "MNIST cannot be read"),
        ("t10k-images-idx3", np.zeros((0, 28, 28), np.uint8), "MNIST cannot be read"),
    ],
)
def test_files_that_hold_something_else_are_refused(mnist, part, array, told, download):
    idx(mnist / "MNIST" / "raw" / f"{part}-ubyte", array)
    with pytest.raises(DataError, match=told) as error:
        MNIST(str(mnist), download).check()
    assert error.value.where == str(mnist)


def test_too_few_images_to_be_split(mnist):
    for kind, shape in (("images-idx3", (100, 28, 28)), ("labels-idx1", (100,))):
        idx(mnist / "MNIST" / "raw" / f"train-{kind}-ubyte", np.zeros(shape, np.uint8))
    with pytest.raises(DataError, match="100 training images are too few"):
        MNIST(str(mnist)).check()


@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_nothing_is_downloaded_through_a_link(tmp_path, kind):
    """What it leads to would be overwritten."""
    (tmp_path / "mine").write_text("precious")
    raw = tmp_path / "data" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    file = raw / "train-images-idx3-ubyte.gz"
    file.symlink_to(tmp_path / "mine") if kind == "link" else os.mkfifo(file)
    with pytest.raises(DataError, match="MNIST is not downloaded to it") as error:
        MNIST(str(tmp_path / "data")).check()
    assert error.value.where == str(file) and (tmp_path / "mine").read_text() == "precious"
    assert not (tmp_path / "data" / ".MNIST.lock").exists()


def test_data_that_are_links_are_read(mnist, tmp_path_factory):
    other = tmp_path_factory.mktemp("other") / "MNIST" / "raw"
    other.mkdir(parents=True)
    for file in (mnist / "MNIST" / "raw").iterdir():
        (other / file.name).symlink_to(file)
    data = MNIST(str(other.parents[1]))
    assert data.fingerprint("test") == MNIST(str(mnist)).fingerprint("test")


@pytest.mark.parametrize("made", ["link", "folder", "pipe"])
def test_a_lock_that_is_something_else_is_left_as_it_is(mnist, tmp_path, made):
    lock = mnist / ".MNIST.lock"
    {"link": lambda p: p.symlink_to("mine"), "folder": os.mkdir, "pipe": os.mkfifo}[made](lock)
    (mnist / "mine").write_text("precious")
    MNIST(str(mnist)).check()
    assert (mnist / "mine").read_text() == "precious" and os.path.lexists(lock)


def test_cifar10_of_other_labels_is_refused(tmp_path):
    for part, count in (("train", 50_000), ("test", 10_000)):
        images = np.zeros((count, 32, 32, 3), np.uint8)
        np.savez_compressed(tmp_path / f"cifar10_{part}.npz", images=images, labels=np.full(count, 10))
    with pytest.raises(DataError, match="this is not CIFAR-10: labels up to 10"):
        CIFAR10(str(tmp_path), download=False).check()
