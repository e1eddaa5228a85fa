"""Images in .npz files: what is read, and what is refused."""

import zipfile

import numpy as np
import pytest
import torch

from diffexp.data import Npz
from diffexp.data.npz import read_npz
from diffexp.errors import DataError


def write(path, count=100, shape=(5, 6, 3), **arrays):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, *shape), dtype=np.uint8)
    np.savez(path, **{"images": images, **arrays})
    return images


class Payload:
    def __reduce__(self):
        return (print, ("unpickled",))


def test_one_file_is_split_by_a_fixed_permutation(tmp_path):
    images = write(tmp_path / "set.npz", labels=np.arange(100) % 4)
    data = Npz(str(tmp_path / "set.npz"))
    data.check()
    assert data.name == "set" and data.shape == (3, 5, 6) and data.classes == ("0", "1", "2", "3")
    assert [len(data.split(s)) for s in ("train", "val", "test")] == [90, 5, 5]
    where = {image.transpose(2, 0, 1).tobytes(): i for i, image in enumerate(images)}
    for split in ("train", "val", "test"):
        part = data.split(split)
        assert [where.pop(image.numpy().tobytes()) % 4 for image in part.images] == part.labels.tolist()
    assert not where


def test_height_and_width_are_those_of_the_array(tmp_path):
    images = write(tmp_path / "a.npz", 40, (6, 10, 3))
    data = Npz(str(tmp_path / "a.npz"))
    assert data.shape == (3, 6, 10)
    batch = next(data.batches("train", 36)).image
    kept = {image.tobytes() for image in images.transpose(0, 3, 1, 2)}
    assert batch.shape == (36, 3, 6, 10) and all(image.numpy().tobytes() in kept for image in batch)
    write(tmp_path / "turned.npz", 40, (10, 6, 3))
    with pytest.raises(DataError, match="differ in size"):
        Npz(str(tmp_path / "a.npz"), str(tmp_path / "turned.npz")).check()


def test_two_files_are_train_and_test(tmp_path):
    train = write(tmp_path / "a.npz", 30, (4, 4))
    test = write(tmp_path / "b.npz", 20, (4, 4))
    data = Npz(str(tmp_path / "a.npz"), str(tmp_path / "b.npz"))
    assert data.shape == (1, 4, 4) and data.classes is None and data.split("train").labels is None
    assert np.array_equal(data.split("train").images[:, 0].numpy(), train)
    assert np.array_equal(data.split("test").images[:, 0].numpy(), test)
    assert len(data.split("val")) == 4


def test_names_of_classes(tmp_path):
    write(tmp_path / "a.npz", labels=np.arange(100) % 2)
    assert Npz(str(tmp_path / "a.npz"), classes=("cat", "dog")).counts("val").keys() == {"cat", "dog"}
    with pytest.raises(DataError, match="labels up to 1, but 1 names"):
        _ = Npz(str(tmp_path / "a.npz"), classes=("cat",)).classes


def test_pickled_objects_are_refused_and_not_run(tmp_path, capsys):
    hostile = np.array([Payload()] * 3, dtype=object)
    for arrays in ({"images": hostile}, {"labels": hostile}):
        write(tmp_path / "bad.npz", 3, **arrays)
        with pytest.raises(DataError, match="allow_pickle=False") as error:
            Npz(str(tmp_path / "bad.npz")).check()
        assert error.value.where.endswith("bad.npz")
    assert "unpickled" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arrays", "what"),
    [
        ({"images": np.zeros((5, 4, 4, 3), np.float32)}, "float32, not uint8"),
        ({"images": np.zeros((5, 4, 8, 8), np.uint8)}, "last axis is not 1 or 3"),
        ({"images": np.zeros((5, 8), np.uint8)}, r"shape \(5, 8\)"),
        ({"images": np.zeros((0, 8, 8), np.uint8)}, r"shape \(0, 8, 8\)"),
        ({"labels": np.zeros(99, np.int64)}, r"not integers \(100,\)"),
        ({"labels": np.zeros(100)}, "float64"),
        ({"labels": np.full(100, -1)}, "negative"),
        ({"labels": np.zeros(100, bool)}, "bool"),
        ({"labels": np.zeros((100, 1), np.int64)}, r"\(100, 1\), not integers \(100,\)"),
        ({"labels": np.eye(100, dtype=np.int64)}, r"one-hot labels have; its argmax\(1\) are integers"),
        ({"labels": np.full(100, 2**63 + 5, np.uint64)}, "has 9223372036854775813, which is no class"),
        ({"labels": np.arange(100) + 901}, "labels up to 1,000, and 100 images"),
        ({"labels": np.array([10**9] + [0] * 99)}, "labels up to 1,000,000,000, and 100 images"),
    ],
)
def test_arrays_that_are_no_images_are_refused(arrays, what, tmp_path):
    write(tmp_path / "a.npz", **arrays)
    with pytest.raises(DataError, match=what) as error:
        Npz(str(tmp_path / "a.npz")).check()
    assert error.value.where.endswith("a.npz")
    assert "uint8 (N, H, W, C)" in error.value.do or "data.classes" in error.value.do


def test_damaged_and_missing_files_are_named(tmp_path):
    write(tmp_path / "a.npz")
    (tmp_path / "cut.npz").write_bytes((tmp_path / "a.npz").read_bytes()[:2000])
    (tmp_path / "text.npz").write_text("hello")
    np.savez(tmp_path / "other.npz", pictures=np.zeros(3))
    for name in ("cut", "text", "other", "none"):
        with pytest.raises(DataError) as error:
            _ = Npz(str(tmp_path / f"{name}.npz")).shape
        assert error.value.where == str(tmp_path / f"{name}.npz")


def test_files_that_do_not_belong_together_are_refused(tmp_path):
    write(tmp_path / "a.npz", labels=np.zeros(100, np.uint8))
    write(tmp_path / "small.npz", shape=(4, 4, 3), labels=np.zeros(100, np.uint8))
    write(tmp_path / "bare.npz")
    for other, what in (("small", "differ in size"), ("bare", "only one of the two files has labels")):
        with pytest.raises(DataError, match=what):
            Npz(str(tmp_path / "a.npz"), str(tmp_path / f"{other}.npz")).check()


def test_labels_of_any_integer_type_become_int64(tmp_path):
    write(tmp_path / "a.npz", labels=np.full(100, 200, np.uint8))
    part = Npz(str(tmp_path / "a.npz")).split("train")
    assert part.labels.dtype == torch.int64 and part.labels.unique().tolist() == [200]


def test_classes_without_names_are_a_thousand_or_as_many_as_images(tmp_path):
    """Gaps are allowed: a hundred images may be of ImageNet's classes."""
    write(tmp_path / "a.npz", labels=np.arange(100) * 10 + 9)
    assert len(Npz(str(tmp_path / "a.npz")).classes) == 1000
    write(tmp_path / "b.npz", 1200, (2, 2), labels=np.arange(1200))
    assert len(Npz(str(tmp_path / "b.npz")).classes) == 1200
    write(tmp_path / "c.npz", 3, (2, 2), labels=np.full(3, 5000))
    names = tuple(f"class {i}" for i in range(5001))
    assert Npz(str(tmp_path / "c.npz"), classes=names).counts("train") == dict.fromkeys(names, 0) | {
        names[5000]: 1
    }
    test = Npz(str(tmp_path / "b.npz"), str(tmp_path / "c.npz"))
    with pytest.raises(DataError, match="labels up to 5,000, and 1,203 images"):
        test.check()


def test_samples_as_other_programs_write_them(tmp_path):
    """guided-diffusion: np.savez(path, images, labels)."""
    images = write(tmp_path / "a.npz", 20, labels=np.arange(20) % 3)
    np.savez(tmp_path / "b.npz", images, (np.arange(20) % 3).astype(np.int64))
    ours, theirs = read_npz(tmp_path / "a.npz"), read_npz(tmp_path / "b.npz")
    assert ours.fingerprint() == theirs.fingerprint()
    np.savez(tmp_path / "c.npz", images, mu=np.zeros(3))
    bare = read_npz(tmp_path / "c.npz")
    assert bare.labels is None and torch.equal(bare.images, ours.images)
    np.savez(tmp_path / "d.npz", images, np.eye(3)[np.arange(20) % 3])
    with pytest.raises(DataError, match=r"`arr_1` has shape \(20, 3\), as one-hot"):
        read_npz(tmp_path / "d.npz")
    np.savez(tmp_path / "e.npz", images.astype(np.float32))
    with pytest.raises(DataError, match="`arr_0` is float32"):
        read_npz(tmp_path / "e.npz")


def test_channels_may_come_first_where_there_is_no_doubt(tmp_path, caplog, capsys):
    images = write(tmp_path / "last.npz", 20)
    np.savez(tmp_path / "first.npz", images.transpose(0, 3, 1, 2))
    with caplog.at_level("WARNING"):
        assert torch.equal(read_npz(tmp_path / "first.npz").images, read_npz(tmp_path / "last.npz").images)
    assert caplog.messages == [f"{tmp_path / 'first.npz'}: (20, 3, 5, 6) is read as (N, C, H, W)"]
    assert capsys.readouterr().err == f"warning: {caplog.messages[0]}\n"  # once, though read twice
    read_npz(tmp_path / "first.npz")
    assert capsys.readouterr().err == "" and len(caplog.messages) == 2
    for shape in ((20, 3, 5, 3), (20, 1, 1, 1), (20, 3, 5, 1), (20, 1, 5, 3)):  # as documented
        images = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
        np.savez(tmp_path / "doubt.npz", images)
        found = read_npz(tmp_path / "doubt.npz").images
        assert torch.equal(found, torch.from_numpy(images).permute(0, 3, 1, 2)), shape
    assert len(caplog.messages) == 2


def test_an_archive_of_other_arrays_says_which(tmp_path):
    np.savez(tmp_path / "a.npz", pictures=np.zeros(3), y=np.zeros(3))
    with pytest.raises(DataError, match="there are no `images` in it, but pictures, y") as error:
        read_npz(tmp_path / "a.npz")
    assert "`arr_0` and `arr_1`" in error.value.do
    with zipfile.ZipFile(tmp_path / "b.npz", "w") as file:
        file.writestr("images", "text")
    with pytest.raises(DataError, match="`images` is no array"):
        read_npz(tmp_path / "b.npz")
