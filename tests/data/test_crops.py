"""Which part of a picture is kept, and the numbers that say so."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from diffexp.data import Buckets, Folder, Mix
from diffexp.data.fitted import Fit, drawn_places, mirrored_size
from diffexp.data.loader import TrainLoader
from diffexp.data.order import TrainOrder
from diffexp.errors import ConfigError, DataError
from diffexp.training import DataModule


@pytest.fixture
def ramps(tmp_path):
    """12 pictures, 64 wide and 16 high, whose grey at x is 3 x; the first three say a point."""
    grey = np.tile(np.arange(64, dtype=np.uint8) * 3, (16, 1))
    for i in range(12):
        Image.fromarray(grey).save(tmp_path / f"{i:02}.png")
    rows = [{"file_name": f"{i:02}.png"} for i in range(12)]
    for row, point in zip(rows, ([0, 0.5], [0.5, 0.5], "0.9, 0.5"), strict=False):
        row["face"] = point
    (tmp_path / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return tmp_path


def folder(path, **options):
    return Folder(str(path), 16, mode="L", **options)


def left_of(image):
    """The x at which an image of a ramp begins."""
    return round(float(image[0, 8, :].float().mean()) / 3 - 7.5)


def test_a_point_is_in_the_middle_as_far_as_the_picture_goes(ramps):
    whole = folder(ramps, crop="face").everything().batch(torch.arange(12))
    assert [left_of(image) for image in whole.image[:4]] == [
        0,
        24,
        48,
        24,
    ]  # 0.9 * 64 - 8 is 49.6, and 48 the end
    assert whole.size[:4].tolist() == [[16, 64, 0, x, 16, 16] for x in (0, 24, 48, 24)]
    centre = folder(ramps).everything().batch(torch.arange(12))
    assert torch.equal(centre.image[3], whole.image[3])


def test_cut_pixels_are_those_of_the_scaled_picture(tmp_path):
    Image.new("L", (300, 200)).save(tmp_path / "a.png")
    fit = Fit("L", 10**6)
    assert fit(tmp_path / "a.png", (20, 20), (1.0, 0.3)).size.tolist() == [200, 300, 0, 10, 20, 20]
    assert fit(tmp_path / "a.png", (20, 40), (0.2, 0.5)).size.tolist() == [200, 300, 3, 0, 20, 40]


def test_mirror_images_say_what_was_cut_off_right(ramps):
    size = torch.tensor([[16, 64, 0, 5, 16, 16], [200, 300, 3, 0, 20, 40], [7, 7, 0, 0, 9, 9]])
    assert mirrored_size(size)[:, 3].tolist() == [43, 0, 0]
    assert torch.equal(mirrored_size(mirrored_size(size)), size)
    loader = DataModule(folder(ramps, crop="random"), batch_size=4, flip=True).train_dataloader()
    turned = 0
    for batch in loader:
        for image, size in zip(batch.image, batch.size, strict=True):
            mirrored = bool(image[0, 8, 0] > image[0, 8, -1])
            at = left_of(image)
            assert abs((48 - at if mirrored else at) - int(size[3])) <= 1
            turned += mirrored
    assert 0 < turned < 8


def test_random_crops_are_a_function_of_seed_epoch_and_image(ramps):
    data = folder(ramps, crop="random")
    images = data.split("train")
    assert images.streams and images.random

    def epoch(number, rank=0, world=1, workers=0):
        order = TrainOrder(len(images), 10, 3, rank, world)
        assert len(order) == 1
        return next(iter(TrainLoader(images, order, False, workers, lambda: number)))

    first, again, next_one, worked = epoch(0), epoch(0), epoch(1), epoch(0, workers=1)
    assert torch.equal(first.image, again.image) and torch.equal(first.image, worked.image)
    halves = [epoch(0, rank, 2) for rank in (0, 1)]
    assert torch.equal(first.image, torch.cat([half.image for half in halves]))
    at = dict(zip(first.index.tolist(), first.size[:, 3].tolist(), strict=True))
    later = dict(zip(next_one.index.tolist(), next_one.size[:, 3].tolist(), strict=True))
    assert sum(at[i] != later[i] for i in at) >= 8
    for image, size in zip(first.image, first.size, strict=True):
        assert abs(left_of(image) - int(size[3])) <= 1
    val = next(iter(DataModule(data).val_dataloader()))
    assert val.size[:, 3].tolist() == [24] * len(val.index)


def test_places_are_uniform_and_of_two_axes():
    places = drawn_places(0, 0, torch.arange(10_000))
    assert places.min() >= 0 and places.max() < 1
    assert (places.mean(0) - 0.5).abs().max() < 0.015 and abs(float(places.T.corrcoef()[0, 1])) < 0.04


def test_buckets_and_mixtures_crop_as_folders_do(ramps):
    buckets = Buckets(step=8, least=8, most=16)
    crops = folder(ramps, crop="random", buckets=buckets)
    batch = next(iter(DataModule(crops, batch_size=4).train_dataloader()))
    high, wide = batch.image.shape[2:]
    assert batch.size[:, 4:].tolist() == [[high, wide]] * 4 and len(set(batch.size[:, 3].tolist())) > 1
    mixed = Mix({"a": folder(ramps, crop="random"), "b": folder(ramps)})
    assert mixed.tells_size and mixed.draws_crops
    batch = next(iter(DataModule(mixed, batch_size=20).train_dataloader()))
    of_b = mixed.split("train").part[batch.index] == 1
    assert batch.size[of_b, 3].tolist() == [24] * int(of_b.sum())
    assert len(set(batch.size[~of_b, 3].tolist())) > 3


def test_what_is_no_crop_is_said_with_what_to_type(ramps):
    with pytest.raises(ConfigError, match=r"random crops are decoded anew.*\n.*data.stream\n.*stream=auto"):
        folder(ramps, crop="random", stream=False)
    with pytest.raises(DataError, match=r"center is neither centre nor random.*\n.*\n.*data.crop=centre"):
        folder(ramps, crop="center").split("train")
    (ramps / "metadata.jsonl").write_text('{"file_name": "00.png", "face": [0.5, 7]}')
    with pytest.raises(DataError, match=r"face=\[0.5, 7\] is no point of a picture\n.*00.png"):
        folder(ramps, crop="face").split("train")
