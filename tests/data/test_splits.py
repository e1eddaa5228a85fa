"""The data sets as they are: sizes, classes, pixels, splits that do not overlap."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from diffexp.data import CIFAR10, MNIST, Digits, FashionMNIST, InMemory
from diffexp.data.dataset import held_out
from diffexp.errors import DataError


@pytest.fixture
def root():
    folder = os.environ.get("DIFFEXP_DATA")
    if folder is None or not Path(folder, "MNIST").is_dir():
        pytest.skip("DIFFEXP_DATA names no folder with the data sets")
    return folder


def rows(part):
    return {image.numpy().tobytes() for image in part.images}


def test_held_out_is_a_fixed_partition():
    rest, val, test = held_out("a", 100, 10, 20)
    assert [len(rest), len(val), len(test)] == [70, 10, 20]
    assert sorted(torch.cat([rest, val, test]).tolist()) == list(range(100))
    assert val.tolist() == sorted(val.tolist())
    assert torch.equal(val, held_out("a", 100, 10, 20)[1])
    assert not torch.equal(val, held_out("b", 100, 10, 20)[1])


def test_digits_are_those_of_sklearn_from_0_to_255():
    digits = Digits()
    parts = [digits.split(name) for name in ("train", "val", "test")]
    assert [len(part) for part in parts] == [1437, 180, 180]
    assert all(part.images.shape[1:] == digits.shape and part.images.dtype == torch.uint8 for part in parts)
    ours = torch.cat([part.images for part in parts]).flatten(1)
    labels = torch.cat([part.labels for part in parts])
    pixels, target = load_digits(return_X_y=True)
    theirs = {
        (np.rint(x * 255 / 16).astype(np.uint8).tobytes(), int(y))
        for x, y in zip(pixels, target, strict=True)
    }
    assert {(x.numpy().tobytes(), int(y)) for x, y in zip(ours, labels, strict=True)} == theirs
    assert ours.max() == 255


def test_every_digit_has_its_share_in_every_split():
    digits = Digits()
    whole = np.bincount(load_digits().target)
    for name, share in (("train", 1437 / 1797), ("val", 180 / 1797), ("test", 180 / 1797)):
        counts = digits.counts(name)
        assert list(counts) == list("0123456789")
        assert np.abs(np.array(list(counts.values())) - whole * share).max() < 1.5


def test_the_split_of_the_digits_is_frozen():
    """A change here changes every published number: raise the version, and say so."""
    assert Digits().fingerprint("train")[:16] == "26bbe7a7520d49a4"
    assert Digits().fingerprint("val") != Digits().fingerprint("test")


def test_a_fingerprint_depends_on_pixels_labels_and_shape():
    images, labels = torch.zeros(4, 1, 2, 2, dtype=torch.uint8), torch.zeros(4, dtype=torch.int64)
    other = images.clone()
    other[3, 0, 1, 1] = 1
    prints = {
        InMemory(images, labels).fingerprint(),
        InMemory(other, labels).fingerprint(),
        InMemory(images, labels + 1).fingerprint(),
        InMemory(images).fingerprint(),
        InMemory(images.view(4, 1, 4, 1)).fingerprint(),
    }
    assert len(prints) == 5
    assert (
        InMemory(images.permute(0, 1, 3, 2), labels).fingerprint() == InMemory(images, labels).fingerprint()
    )


def test_batches_walk_through_a_split_once_in_order():
    digits = Digits()
    batches = list(digits.batches("val", 64))
    assert [len(b.image) for b in batches] == [64, 64, 52]
    assert torch.equal(torch.cat([b.index for b in batches]), torch.arange(180))
    assert torch.equal(torch.cat([b.image for b in batches]), digits.split("val").images)
    assert torch.equal(torch.cat([b.label for b in batches]), digits.split("val").labels)


@pytest.mark.parametrize(("kind", "last"), [(MNIST, "9"), (FashionMNIST, "ankle boot")])
def test_mnist_and_fashion(root, kind, last):
    data = kind(root)
    data.check()
    assert [len(data.split(name)) for name in ("train", "val", "test")] == [55_000, 5_000, 10_000]
    assert data.split("test").images.shape == (10_000, 1, 28, 28)
    assert data.classes[9] == last and len(data.classes) == 10
    official = np.fromfile(Path(root, data.source, "raw", "train-images-idx3-ubyte"), np.uint8)[16:]
    ours = data.split("train").images.long().sum() + data.split("val").images.long().sum()
    assert ours == int(official.sum(dtype=np.int64))
    assert sum(data.counts("test").values()) == 10_000
    assert len(set(data.counts("train"))) == 10


def test_cifar10_trains_on_all_official_images(root):
    data = CIFAR10(root)
    assert [len(data.split(name)) for name in ("train", "val", "test")] == [50_000, 2_000, 10_000]
    assert set(data.counts("train").values()) == {5_000}
    assert set(data.counts("test").values()) == {1_000}
    assert rows(data.split("val")) <= rows(data.split("test"))
    first = np.load(Path(root, "cifar10_train.npz"))["images"][0]
    assert np.array_equal(data.split("train").images[0].permute(1, 2, 0).numpy(), first)
    assert data.classes[data.split("train").labels[0]] == "frog"  # of every tutorial


def test_without_data_and_network_one_clear_error(tmp_path, monkeypatch, capsys):
    def refuse(*args, **kwargs):
        raise OSError("Network is unreachable")

    monkeypatch.setattr("socket.getaddrinfo", refuse)
    for kind in (MNIST, CIFAR10):
        with pytest.raises(DataError, match="not to be downloaded") as error:
            kind(str(tmp_path)).check()
        assert str(tmp_path) in error.value.where
        assert "DIFFEXP_DATA" in error.value.do
        assert "\n" not in error.value.what
    assert capsys.readouterr().out == ""


def test_a_cut_file_is_an_error_that_names_the_folder(root, tmp_path):
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for file in Path(root, "MNIST", "raw").iterdir():
        (raw / file.name).write_bytes(file.read_bytes()[:5000])
    with pytest.raises(DataError, match="MNIST cannot be read") as error:
        MNIST(str(tmp_path)).check()
    assert str(tmp_path) in error.value.where


def test_building_a_data_set_reads_nothing(tmp_path):
    MNIST(str(tmp_path / "none"))
    CIFAR10("~/none-at-all")
    assert list(tmp_path.iterdir()) == []
    assert "~" not in str(CIFAR10("~/none-at-all").root)


def test_other_images_under_the_name_of_cifar10_are_refused(tmp_path):
    for part in ("train", "test"):
        np.savez(tmp_path / f"cifar10_{part}.npz", images=np.zeros((10, 32, 32, 3), np.uint8))
    with pytest.raises(DataError, match="this is not CIFAR-10") as error:
        CIFAR10(str(tmp_path)).check()
    assert error.value.where.endswith("cifar10_train.npz")
