"""A folder of pictures of every shape, in buckets: what is read, kept, cropped, left out and reported."""

import json

import pytest
import torch
from commands import composed
from PIL import Image
from test_folder import paint

from diffexp.data import Bucketed, Buckets, Folder, Mix
from diffexp.data.bucket_order import BucketOrder
from diffexp.data.loader import TrainLoader
from diffexp.errors import ConfigError, DataError
from diffexp.tasks.run import run_job
from diffexp.training import DataModule

SHAPES = [(32, 32), (24, 48), (48, 24), (20, 60), (60, 20), (10, 10)]  # (width, height)


@pytest.fixture
def photos(tmp_path):
    """40 pictures of six shapes, each with a caption and its left half black, its right half white."""
    rows = []
    for i in range(40):
        image = Image.new("L", SHAPES[i % 6], 0)
        image.paste(255, (image.width // 2, 0, image.width, image.height))
        image.save(tmp_path / f"{i:02}.png")
        rows.append({"file_name": f"{i:02}.png", "text": f"picture {i}", "kind": "ab"[i % 2]})
    (tmp_path / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return tmp_path


def folder(path, buckets=Buckets(), **options):  # noqa: B008, frozen
    return Folder(str(path), 32, **{"mode": "L", "label": "kind", "buckets": buckets} | options)


def batches(data, split="train", **options):
    loader = DataModule(data, **{"batch_size": 4} | options)
    return list(loader.train_dataloader() if split == "train" else loader.val_dataloader())


@pytest.mark.parametrize("stream", [True, False])
def test_images_have_the_size_of_their_bucket_and_their_own_captions_and_classes(photos, stream):
    data = folder(photos, stream=stream)
    assert data.shape == (1, 32, 32) and data.split("train").batch(torch.arange(3)).image.shape[2:] == (
        32,
        32,
    )
    part = data.bucketed("train")
    assert isinstance(part, Bucketed) and part.streams == stream and len(part) == 36
    seen = list[int]()
    for batch in batches(data):
        for row, i in enumerate(batch.index.tolist()):
            number = int(part.files[i].stem)
            width, height = SHAPES[number % 6]
            ratio = batch.image.shape[2] / batch.image.shape[3]
            assert (ratio > 1) == (height > width) and (ratio < 1) == (height < width)
            assert batch.text[row] == f"picture {number}" and batch.label[row] == number % 2
            assert batch.image[row, 0, :, :3].max() < 10 and batch.image[row, 0, :, -3:].min() > 245
        seen += batch.index.tolist()
    assert sorted(seen) == list(range(36))
    sizes = {tuple(batch.image.shape[2:]) for batch in batches(data)}
    assert sizes == {(32, 32), (40, 24), (24, 40), (48, 16), (16, 48)}


def test_memory_and_stream_and_workers_give_the_same_images(photos):
    given = [
        batches(folder(photos, stream=stream), flip=True, workers=workers)
        for stream, workers in ((True, 0), (True, 2), (False, 0))
    ]
    for one, two, three in zip(*given, strict=True):
        assert torch.equal(one.image, two.image) and torch.equal(one.image, three.image)
        assert torch.equal(one.index, two.index) and torch.equal(one.index, three.index)
    turned = sum(int(image[0, 0, 0] > 200) for batch in given[0] for image in batch.image)
    assert 8 <= turned <= 28  # 18 ± 3: mirrored


def test_small_folders_are_kept_and_large_ones_stream(photos, monkeypatch):
    assert not folder(photos).bucketed("train").streams
    monkeypatch.setattr("diffexp.data.folder.IN_MEMORY", 20_000)
    assert folder(photos).bucketed("train").streams


def test_without_buckets_nothing_is_new(photos):
    data = folder(photos, None)
    assert data.bucketed("train") is None and not data.split("train").streams
    assert {batch.image.shape[1:] for batch in batches(data)} == {(1, 32, 32)}


def test_validation_is_in_buckets_too(photos):
    data = folder(photos, val=0.3)
    part = data.bucketed("val")
    found = batches(data, "val", eval_batch_size=3)
    assert sorted(i for batch in found for i in batch.index.tolist()) == list(range(len(part)))
    assert len({batch.image.shape[2:] for batch in found}) > 2


def test_a_small_picture_is_enlarged_or_has_a_size_of_its_own(photos):
    plain, own = (folder(photos, Buckets(enlarge=e)).bucketed("train") for e in (True, False))
    small = [i for i, file in enumerate(own.files) if int(file.stem) % 6 == 5]
    assert plain.sorted.enlarged[small].all() and plain.sorted.enlarged.sum() == len(small)
    assert not own.sorted.enlarged.any()
    assert own.batch(torch.tensor(small)).image.shape[1:] == (1, 8, 8)


@pytest.mark.parametrize("stream", [True, False])
def test_a_broken_picture_is_named_or_its_place_is_taken_by_one_of_its_bucket(photos, stream):
    data = folder(photos, stream=stream)
    part = data.bucketed("train")
    i = next(i for i, file in enumerate(part.files) if int(file.stem) % 6 == 0)
    broken = part.files[i]
    whole = broken.read_bytes()
    broken.write_bytes(whole[: len(whole) - 30])  # with a header that can be read
    with pytest.raises(DataError, match=broken.name):
        batches(folder(photos, stream=stream))
    part = folder(photos, stream=stream, broken="skip").bucketed("train")
    took = int(part.batch(torch.tensor([i])).index)
    same = (part.bucket == part.bucket[i]).nonzero().flatten().tolist()
    assert took == same[same.index(i) + 1]


def test_a_picture_without_a_header_is_named_or_left_out(photos, capsys):
    (photos / "07.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"07\.png"):
        folder(photos).check()
    data = folder(photos, broken="skip")
    assert sum(len(data.split(name)) for name in ("train", "val", "test")) == 39
    assert "07.png" in capsys.readouterr().out
    assert sum(len(data.bucketed(name)) for name in ("train", "val", "test")) == 39
    with pytest.raises(DataError, match=r"more than data\.max_pixels=900"):
        folder(photos, max_pixels=900).check()


def test_a_bucket_of_one_picture_and_a_batch_larger_than_a_bucket(tmp_path):
    paint(tmp_path, [f"{i:02}.png" for i in range(20)], (32, 32))
    paint(tmp_path, ["wide.png"], (90, 30))
    data = Folder(str(tmp_path), 32, label="none", buckets=Buckets(), val=0.01, test=0.01)
    part = data.bucketed("train")
    sizes = sorted(len(batch.index) for batch in batches(data, batch_size=16))
    assert sizes in ([1, 2, 16], [3, 16]) and len(part) == 19
    assert sorted(len(batch.index) for batch in batches(data, batch_size=64)) in ([1, 18], [19])


def test_a_page_of_a_folder_shows_its_buckets(photos, tmp_path):
    line = [
        "task=data",
        "data=buckets",
        f"data.path={photos}",
        "data.size=32",
        "data.label=none",
        "logger=none",
    ]
    cfg, choices = composed([*line, f"dir={tmp_path / 'out'}"])
    results = run_job(cfg, tmp_path / "out", line, choices)
    found = results["buckets"]
    assert sum(row["train"] + row["val"] + row["test"] for row in found.values()) == 40
    assert found["32x32"]["cut off"] == "0.0 %" and found["32x32"]["enlarged"] == 6
    page = (tmp_path / "out" / "data.html").read_text()
    assert f"<h2>{len(found)} buckets</h2>" in page and "width:" in page


def test_images_that_fill_a_batch_up_for_ranks_come_with_no_weight(photos):
    images = folder(photos).bucketed("train")
    weights = []
    for rank in (0, 1):
        order = BucketOrder(images.bucket, 4, rank=rank, world=2)
        weights.append([batch.weight for batch in TrainLoader(images, order, False, 0, lambda: 0)])
    odd = [n % 4 for n in images.sorted.counts if n % 2]
    pairs = [(one.tolist(), two.tolist()) for one, two in zip(*weights, strict=True) if one is not None]
    assert sorted(pairs) == sorted(
        ([2.0], [0.0]) if n == 1 else ([pytest.approx(4 / 3)] * 2, [pytest.approx(4 / 3), 0.0]) for n in odd
    )
    assert pairs


def test_buckets_in_a_mixture_are_refused(photos):
    with pytest.raises(ConfigError, match="a mixture has no buckets"):
        Mix({"a": folder(photos)})
