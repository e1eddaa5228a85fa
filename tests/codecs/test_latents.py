"""Latents on the disk equal fresh ones, and what was cut off, damaged or of others is never used."""

import shutil
import threading
import time
from collections import namedtuple

import pytest
import torch
from PIL import Image
from tiny_autoencoder import Tiny

from diffexp.data import Folder, InMemory
from diffexp.data.latents import BLOCK, INDEX, ROWS, Latents, Rows, kept
from diffexp.data.loader import TrainLoader
from diffexp.data.order import TrainOrder, flips
from diffexp.errors import DataError, ResourceError
from diffexp.locks import locked

SHAPE, ABOUT = (4, 4, 4), {"data": "smooth", "split": "train", "images": "abc", "autoencoder": "def"}


class Codec(Tiny):
    """Counts what it encodes; ends with an error after `most` images."""

    seen, most = 0, None

    def moments(self, image):
        if self.most is not None and self.seen + len(image) > self.most:
            raise KeyboardInterrupt
        self.seen += len(image)
        return super().moments(image)


@pytest.fixture
def split(images):
    return InMemory(torch.cat([images, 255 - images]), torch.arange(600) % 10)  # three blocks


def rows(split, folder, codec=None, **more):
    return kept(split, SHAPE, (codec or Codec()).moments, folder, ABOUT, **more)


def everything(latents):
    return torch.cat([*latents.all()])


def test_kept_latents_equal_fresh_ones_bit_for_bit(split, tmp_path):
    codec = Codec()
    made = rows(split, tmp_path, codec)
    assert codec.seen == 600 == made.count
    latents = Latents(split, made, rows(split, tmp_path, mirror=True))
    again = rows(split, tmp_path, codec)
    assert codec.seen == 600 and torch.equal(everything(again), everything(made))
    index = torch.tensor([599, 3, 300, 3])
    batch, plain = latents.batch(index), split.batch(index)
    assert torch.equal(batch.latent, Tiny().moments(plain.image)) and batch.image.shape == (4, 0, 0, 0)
    assert torch.equal(batch.label, plain.label) and torch.equal(batch.index, index)
    assert len(batch.asked) == 4


def test_the_loader_takes_the_latents_of_the_mirrored_images(split, tmp_path):
    latents = Latents(split, rows(split, tmp_path), rows(split, tmp_path, mirror=True))
    order = TrainOrder(600, 64, 0, 0, 1)
    ready, plain = (TrainLoader(part, order, True, 0, lambda: 0) for part in (latents, split))
    batch, images = next(iter(ready)), next(iter(plain))
    assert torch.equal(batch.latent, Tiny().moments(images.image))
    assert 0 < flips(0, 0, batch.index).sum() < 64


def folder_of(tmp_path):
    return next(path.parent for path in tmp_path.glob(f"*/{ROWS}"))


def test_a_run_that_was_killed_is_continued(split, tmp_path):
    whole = everything(rows(split, tmp_path / "whole"))
    codec = Codec()
    codec.most = 300
    with pytest.raises(KeyboardInterrupt):
        rows(split, tmp_path / "cut", codec)
    folder = folder_of(tmp_path / "cut")
    assert Rows(folder, 600, SHAPE).sound() == BLOCK == codec.seen
    with (folder / ROWS).open("ab") as file:
        file.write(b"half a row that was written and has no line yet")
    with (folder / INDEX).open("ab") as file:
        file.write(b"half")
    rest = Codec()
    assert torch.equal(everything(rows(split, tmp_path / "cut", rest)), whole) and rest.seen == 600 - BLOCK
    for name in (ROWS, INDEX):
        assert (folder / name).read_bytes() == (folder_of(tmp_path / "whole") / name).read_bytes()


@pytest.mark.parametrize("cut", [0, 1, 1000, 40_000, 70_000, 150_000])
@pytest.mark.parametrize("name", [ROWS, INDEX])
def test_what_is_cut_off_anywhere_is_made_again(split, tmp_path, cut, name):
    whole = everything(rows(split, tmp_path))
    file = folder_of(tmp_path) / name
    content = file.read_bytes()
    file.write_bytes(content[: cut * len(content) // 163_200])
    codec = Codec()
    assert torch.equal(everything(rows(split, tmp_path, codec)), whole)
    assert codec.seen > 0 and file.read_bytes() == content


@pytest.mark.parametrize("name", [ROWS, INDEX])
def test_what_is_damaged_is_made_again_from_there(split, tmp_path, name, capsys):
    whole = everything(rows(split, tmp_path))
    file = folder_of(tmp_path) / name
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1  # in the second block
    file.write_bytes(content)
    codec = Codec()
    assert torch.equal(everything(rows(split, tmp_path, codec)), whole) and codec.seen == 600 - BLOCK
    assert f"made again from image {BLOCK} on, for it is damaged" in capsys.readouterr().err


def test_latents_of_others_are_not_taken(split, tmp_path):
    rows(split, tmp_path)
    for key in ABOUT:
        assert len([*tmp_path.iterdir()]) == 1
        kept(split, SHAPE, Codec().moments, tmp_path, {**ABOUT, key: "other"})
        other = max(tmp_path.iterdir(), key=lambda path: path.stat().st_mtime_ns)
        shutil.rmtree(other)
    folder = folder_of(tmp_path)
    (folder / "about.json").write_text("{}")
    with pytest.raises(DataError) as error:
        rows(split, tmp_path)
    assert error.value.what == "the latents in this folder are of other images, or of another autoencoder"
    assert error.value.do == "remove the folder: it is made again"


def test_a_second_writer_waits(split, tmp_path, capsys):
    rows(split, tmp_path)
    folder = folder_of(tmp_path)
    (folder / INDEX).unlink()
    codec = Codec()
    with locked(folder / ".lock"):
        second = threading.Thread(target=rows, args=(split, tmp_path, codec))
        second.start()
        time.sleep(0.6)
        assert codec.seen == 0
    second.join()
    assert codec.seen == 600
    assert "waiting for another process, which encodes the train images of smooth" in capsys.readouterr().err


def test_too_little_room_is_said_before_anything_is_encoded(split, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("diffexp.data.latents.shutil.disk_usage", lambda path: usage(0, 0, 1000))
    codec = Codec()
    with pytest.raises(
        ResourceError, match=r"the latents cannot be kept: .*0 MB are free[\s\S]*codec\.cache=false"
    ):
        rows(split, tmp_path, codec)
    assert codec.seen == 0
    (tmp_path / "file").write_text("")
    with pytest.raises(ResourceError, match="the latents cannot be kept: Not a directory"):
        rows(split, tmp_path / "file", codec)


def test_a_broken_image_has_the_latents_and_the_number_of_its_neighbour(images, tmp_path):
    for i in range(40):
        Image.fromarray(images[i, 0].numpy()).save(tmp_path / f"{i:03}.png")
    data = Folder(str(tmp_path), 8, mode="L", label="none", stream=True, broken="skip", val=0.1, test=0.1)
    stream = data.split("train")
    stream.files[5].write_bytes(b"no picture")
    latents = Latents(stream, rows(stream, tmp_path / "latents"))
    index = torch.tensor([4, 5, 6])
    batch, plain = latents.batch(index), stream.batch(index)
    assert batch.index.tolist() == plain.index.tolist() == [4, 6, 6]
    assert torch.equal(batch.latent, Tiny().moments(plain.image))
