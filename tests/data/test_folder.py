"""Trees of images: classes, splits, broken files, memory and stream."""

import logging
import os
from pathlib import Path

import pytest
import torch
from PIL import Image

from diffexp.data import Folder, InMemory, Stream
from diffexp.data.loader import fetch
from diffexp.errors import ConfigError, DataError, ResourceError
from diffexp.training import DataModule


def paint(root, names, size=(12, 8)):
    """One plain grey image for each name, of grey 0, 1, 2, ..."""
    for grey, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", size, grey).save(root / name)


def greys(part):
    return part.images[:, 0, 0, 0].tolist()


@pytest.fixture
def classes(tmp_path):
    paint(tmp_path, [f"{c}/deep/{i}.png" for c in ("cat", "ant", "bee") for i in range(20)])
    (tmp_path / "readme.txt").write_text("no image")
    (tmp_path / ".hidden.png").write_text("no image")
    return tmp_path


def test_the_first_level_folders_are_the_classes(classes):
    data = Folder(str(classes), 4, mode="L")
    data.check()
    assert data.classes == ("ant", "bee", "cat")
    assert data.shape == (1, 4, 4) and data.name == f"{classes.name}-4"
    assert [len(data.split(s)) for s in ("train", "val", "test")] == [54, 3, 3]
    for split in ("train", "val", "test"):
        part = data.split(split)
        assert isinstance(part, InMemory)
        # cat has the greys 0..19, ant 20..39, bee 40..59
        assert [("cat", "ant", "bee")[g // 20] for g in greys(part)] == [data.classes[i] for i in part.labels]
    together = [grey for s in ("train", "val", "test") for grey in greys(data.split(s))]
    assert sorted(together) == list(range(60))
    assert sum(data.counts("train").values()) == 54


def test_the_split_depends_on_the_names_only(classes):
    before = greys(Folder(str(classes), 4, mode="L").split("val"))
    for file in reversed(sorted(classes.rglob("*.png"))):
        os.utime(file, (0, 0))
    assert greys(Folder(str(classes), 4, mode="L").split("val")) == before


def test_no_classes_on_request_or_without_two_folders(classes, tmp_path_factory):
    data = Folder(str(classes), 4, label="none")
    assert data.classes is None and data.split("train").labels is None and data.counts("train") == {}
    one = tmp_path_factory.mktemp("one")
    paint(one, [f"all/{i}.png" for i in range(5)])
    assert Folder(str(one), 4).classes is None


def test_an_image_beside_the_class_folders_is_an_error(classes):
    paint(classes, ["stray.png"])
    with pytest.raises(DataError, match="beside the class folders") as error:
        Folder(str(classes), 4).check()
    assert error.value.where.endswith("stray.png") and "data.label=none" in error.value.do
    assert len(Folder(str(classes), 4, label="none").files) == 61


def test_memory_and_stream_hold_the_same_images(classes):
    memory, stream = (Folder(str(classes), 5, stream=s) for s in (False, True))
    for split in ("train", "val", "test"):
        assert isinstance(stream.split(split), Stream)
        for a, b in zip(memory.batches(split, 7), stream.batches(split, 7, workers=2), strict=True):
            assert (
                torch.equal(a.image, b.image)
                and torch.equal(a.label, b.label)
                and torch.equal(a.index, b.index)
            )
    assert memory.counts("train") == stream.counts("train")


def test_auto_streams_above_the_limit(classes, monkeypatch):
    assert not Folder(str(classes), 8).split("train").streams
    monkeypatch.setattr("diffexp.data.folder.IN_MEMORY", 60 * 3 * 8 * 8 - 1)
    assert Folder(str(classes), 8).split("train").streams
    assert not Folder(str(classes), 7).split("train").streams


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_change_nothing(classes, workers):
    data = Folder(str(classes), 5, stream=True)
    alone = DataModule(data, 16, flip=True, seed=1).train_dataloader()
    helped = DataModule(data, 16, flip=True, workers=workers, seed=1).train_dataloader()
    for a, b in zip(alone, helped, strict=True):
        assert torch.equal(a.image, b.image) and torch.equal(a.index, b.index)


def test_few_images_are_in_every_split(tmp_path):
    paint(tmp_path, ["a.png", "b.png"])
    data = Folder(str(tmp_path), 4)
    data.check()
    assert all(greys(data.split(s)) == [0, 1] for s in ("train", "val", "test"))
    paint(tmp_path, ["a.png", "b.png", "c.png"])
    assert [len(Folder(str(tmp_path), 4).split(s)) for s in ("train", "val", "test")] == [1, 1, 1]


@pytest.mark.parametrize("stream", [False, True])
def test_a_broken_image_stops_naming_its_file(classes, stream):
    broken = classes / "bee" / "deep" / "3.png"
    broken.write_bytes(b"PNG, or so it says")
    data = Folder(str(classes), 4, stream=stream)
    with pytest.raises(DataError, match="not an image") as error:
        for split in ("train", "val", "test"):
            list(data.batches(split, 8))
    assert error.value.where == str(broken) and "data.broken=skip" in error.value.do


def test_a_worker_hands_on_the_error_as_it_is(tmp_path):
    paint(tmp_path, [f"{i}.png" for i in range(9)])
    for file in tmp_path.iterdir():
        file.write_bytes(b"")
    with pytest.raises(DataError, match="not an image") as error:
        list(Folder(str(tmp_path), 4, stream=True).batches("train", 4, workers=2))
    assert "Traceback" not in str(error.value)
    with pytest.raises(DataError, match="no image of this split"):
        list(Folder(str(tmp_path), 4, stream=True, broken="skip").batches("train", 4, workers=1))


def test_a_skipped_image_is_left_out_of_memory_and_counted(classes, caplog):
    (classes / "bee" / "deep" / "3.png").write_bytes(b"")
    (classes / "bee" / "deep" / "4.png").write_bytes(b"")
    with caplog.at_level(logging.WARNING):
        data = Folder(str(classes), 4, mode="L", broken="skip")
        parts = [data.split(s) for s in ("train", "val", "test")]
    assert sum(len(part) for part in parts) == 58
    assert all(len(part) == len(part.labels) for part in parts)
    assert not {43, 44} & {grey for part in parts for grey in greys(part)}
    assert caplog.text.count("left out: ") == 2 and "bee/deep/3.png" in caplog.text
    assert "of 54 images" in caplog.text


def test_a_skipped_image_of_a_stream_gives_its_place_to_the_next(tmp_path, caplog):
    paint(tmp_path, [f"{i:02}.png" for i in range(30)])
    data = Folder(str(tmp_path), 4, mode="L", stream=True, broken="skip")
    part = data.split("train")
    part.files[4].write_bytes(b"")
    part.files[-1].write_bytes(b"")
    batch = part.batch(torch.tensor([3, 4, 5, len(part) - 1]))
    assert batch.index.tolist() == [3, 5, 5, 0]
    assert torch.equal(batch.image[1], batch.image[2])
    assert str(part.files[4]) in caplog.text


def test_an_empty_or_missing_folder_says_what_is_expected(tmp_path):
    for path, what in ((tmp_path, "no image in this folder"), (tmp_path / "none", "no such folder")):
        with pytest.raises(DataError, match=what) as error:
            Folder(str(path), 8).check()
        assert error.value.where == str(path)
        assert ".png" in error.value.do and "sub-folder for each class" in error.value.do


def test_a_split_emptied_by_skipping_gets_the_good_images(tmp_path):
    paint(tmp_path, ["a.png", "b.png", "c.png"])
    (tmp_path / "b.png").write_bytes(b"")
    data = Folder(str(tmp_path), 4, broken="skip")
    data.check()
    assert [len(data.split(part)) for part in ("train", "val", "test")] == [2, 2, 2]
    (tmp_path / "a.png").write_bytes(b"")
    (tmp_path / "c.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"split of .* is empty"):
        Folder(str(tmp_path), 4, broken="skip").check()


def test_large_pictures_are_refused_by_the_option(tmp_path):
    paint(tmp_path, ["a.png"], size=(40, 30))
    with pytest.raises(DataError, match=r"40 x 30 pixels, more than data.max_pixels=1000"):
        Folder(str(tmp_path), 4, max_pixels=1000).check()


def test_impossible_values_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="size=0"):
        Folder(str(tmp_path), 0)
    for val, test in ((0.0, 0.1), (0.5, 0.5), (-0.1, 0.2)):
        with pytest.raises(ConfigError, match="are no shares"):
            Folder(str(tmp_path), 8, val=val, test=test)


def test_the_fingerprint_of_a_stream_follows_files_and_transform(classes):
    def fingerprint(size=4, mode="L"):
        return Folder(str(classes), size, mode, stream=True).fingerprint("train")

    first = fingerprint()
    assert first == fingerprint() and len(first) == 64
    assert len({first, fingerprint(size=5), fingerprint(mode="RGB")}) == 3
    touched = Folder(str(classes), 4, stream=True).split("train").files[0]
    os.utime(touched, (1, 1))
    assert fingerprint() != first


@pytest.mark.parametrize("stream", [False, True])
def test_a_height_and_a_width(tmp_path, stream):
    """White above 12 of 24 rows, black below: (H, W) is not (W, H)."""
    for i, size in enumerate([(36, 24), (48, 24), (36, 48)]):  # as wide as 24x36 is; wider; less wide
        image = Image.new("L", size)
        image.paste(255, (0, 0, size[0], size[1] // 2))
        image.save(tmp_path / f"{i}.png")
    data = Folder(str(tmp_path), (24, 36), mode="L", stream=stream)
    assert data.shape == (1, 24, 36) and data.name == f"{tmp_path.name}-24x36"
    for image in next(iter(data.everything().batch(torch.arange(3))))[:, 0]:
        assert image.shape == (24, 36)
        assert image[:10].unique().tolist() == [255] and image[14:].unique().tolist() == [0]
    turned = Folder(str(tmp_path), (36, 24), mode="L", stream=stream)
    assert (
        turned.shape == (1, 36, 24)
        and turned.split("train").fingerprint() != data.split("train").fingerprint()
    )


def test_two_equal_numbers_are_one(classes):
    for stream in (False, True):
        one, two = (Folder(str(classes), size, mode="L", stream=stream) for size in (4, (4, 4)))
        assert one.name == two.name and one.fingerprint("val") == two.fingerprint("val")
        assert torch.equal(one.split("val").batch(torch.arange(3)).image, two.split("val").batch(
            torch.arange(3)).image)  # fmt: skip


def test_the_fingerprint_of_one_number_stays_what_it_was(classes):
    """It is in the keys of caches that lie on disks."""
    data = Folder(str(classes), 4, mode="L", stream=True)
    assert data.split("train").transform == "4 L bicubic centre"
    assert Folder(str(classes), (4, 6), stream=True).split("train").transform == "4x6 RGB bicubic centre"
    digest = "f594341657cb20e89655b501864b95e38e3b6466e36a02f41ba1750eacf1f95c"
    assert Folder(str(classes), 4, mode="L", stream=False).fingerprint("train") == digest


@pytest.mark.parametrize("size", [0, -4, (0, 8), (8, -1), (1, 2, 3), (8,), (), "48x64", (8.5, 8), [8, "8"]])
def test_what_is_no_size_has_one_answer(size):
    with pytest.raises(ConfigError, match="is no size") as error:
        Folder("images", size)
    assert error.value.where == "data.size" and "data.size=64" in error.value.do
    assert "data.size=[48,64]" in error.value.do


class Killed:
    """An image loader whose process is killed, as by the kernel when memory runs out."""

    def __call__(self, path):
        os.kill(os.getpid(), 9)


def test_a_killed_worker_is_explained():
    part = Stream([Path("a")] * 4, None, Killed(), "none")
    with pytest.raises(ResourceError, match="worker was killed") as error:
        list(fetch(part, [torch.arange(4)], workers=1))
    assert "loader.workers" in error.value.do


def test_a_real_tree_of_photographs():
    root = Path(os.environ.get("DIFFEXP_DATA", "none"), "dreambooth256")
    if not root.is_dir():
        pytest.skip("DIFFEXP_DATA names no folder with dreambooth256")
    data = Folder(str(root), 32)
    data.check()
    assert len(data.classes) == 30 and "backpack" in data.classes
    batch = next(data.batches("train", 8))
    assert batch.image.shape == (8, 3, 32, 32) and batch.image.float().std() > 20
