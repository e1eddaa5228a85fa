"""Tar shards are read by number: the pictures of a folder, its order, ranks and resumption."""

import os
import pickle
import shutil
import tarfile

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tars import png, sample, shards, tar
from test_resume import run

from diffexp.data import Captions, Folder, Mix, Shards
from diffexp.data.latents import Latents, kept
from diffexp.data.loader import fetch
from diffexp.data.order import TrainOrder
from diffexp.data.recorded import _split
from diffexp.data.records import Others
from diffexp.errors import DataError

COUNT = 30


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return shards(tmp_path_factory.mktemp("made") / "shards", COUNT)


@pytest.fixture
def own(made, tmp_path):
    """A copy that a test may damage."""
    return shutil.copytree(made, tmp_path / "own")


def read(path, **options):
    options.setdefault("cache", str(path.parent / "cache"))
    return Shards(str(path), **{"size": 8, "stream": True, **options})


def test_the_pictures_are_those_of_a_folder(made, tmp_path):
    for number in range(COUNT):
        (tmp_path / f"{number:05}.png").write_bytes(png(number))
        (tmp_path / f"{number:05}.txt").write_text(f"picture {number}")
    of_folder, of_shards = Folder(str(tmp_path), 8, stream=True), read(made)
    every = torch.arange(COUNT)
    a, b = of_folder.everything().batch(every), of_shards.everything().batch(every)
    assert torch.equal(a.image, b.image) and a.text == b.text
    assert b.label.tolist() == [n % 3 for n in range(COUNT)] and of_shards.classes == ("0", "1", "2")
    for split in ("train", "val", "test"):
        one, other = read(made).split(split), read(made, stream=False).split(split)
        assert len(one) == len(of_folder.split(split))
        index = torch.arange(len(one))
        assert torch.equal(one.batch(index).image, other.batch(index).image)
        assert one.batch(index).text == other.batch(index).text
    read(made).check()


def test_no_picture_is_in_two_splits_and_all_are_in_one(made):
    data = read(made)
    texts = [text for split in ("train", "val", "test") for text in data.split(split).texts]
    assert sorted(texts) == sorted(f"picture {n}" for n in range(COUNT))


@given(st.integers(3, 400), st.integers(1, 40), st.integers(1, 3), st.integers(0, 99))
@settings(max_examples=12, deadline=None)
def test_every_image_comes_once_an_epoch_and_ranks_share_a_batch(count, batch, world, seed):
    batch = max(world, min(batch, count) // world * world)
    if batch > count:
        return
    for kind in ("sorted", "computed"):
        alone = TrainOrder(count, batch, seed, kind=kind)
        ranks = [TrainOrder(count, batch, seed, rank, world, kind) for rank in range(world)]
        shown = []
        for number in range(len(alone), 2 * len(alone)):
            epoch, images = alone.batch(number)
            assert epoch == 1
            assert torch.equal(torch.cat([rank.batch(number)[1] for rank in ranks]), images)
            shown.append(images)
        assert len(torch.cat(shown).unique()) == len(alone) * batch


def test_workers_read_what_this_process_reads(made):
    images = read(made).split("train")
    sent = pickle.loads(pickle.dumps(images))  # as to a process that is spawned
    assert list(sent.texts) == list(images.texts)
    order = [TrainOrder(len(images), 6, 2).batch(number)[1] for number in range(4)]
    for a, b in zip(fetch(images, order, 0), fetch(images, order, 2), strict=True):
        assert torch.equal(a.image, b.image) and a.text == b.text and torch.equal(a.label, b.label)


@pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning", "ignore:.*smaller than the logging interval")
@pytest.mark.parametrize("stop", [2, 7])
def test_a_run_that_is_stopped_in_mid_epoch_sees_what_the_unbroken_one_sees(made, stop, tmp_path):
    whole, _ = run(read(made), 15, tmp_path)
    first, trainer = run(read(made), stop, tmp_path)
    trainer.save_checkpoint(tmp_path / "stop.ckpt")
    second, _ = run(read(made), 15, tmp_path, tmp_path / "stop.ckpt")
    assert first.seen + second.seen == whole.seen
    assert second.weight.item() == whole.weight.item()


def test_captions_and_classes_are_of_the_columns_that_were_typed(made):
    data = read(made, text="caption", label="kind", caption=Captions(prefix="see: "))
    images = data.split("train")
    assert data.classes == ("kind 0", "kind 1", "kind 2")
    number = int(images.captions[3][0].removeprefix("number "))
    assert images.captions[3] == (f"number {number}", f"the {number}th")
    assert images.batch(torch.tensor([3])).text == [f"see: number {number}"]
    drawn = {images.captions.drawn(0, epoch, torch.tensor([3]))[0] for epoch in range(20)}
    assert drawn == {f"see: number {number}", f"see: the {number}th"}
    assert len(images.captions.every()) == 2 * len(images)
    bare = read(made, text="none", label="none")
    assert bare.classes is None and bare.split("train").texts is None


def test_classes_are_in_the_order_of_their_numbers(tmp_path):
    file = tar(tmp_path / "a.tar", [m for n in (11, 9, 100) for m in (sample(n)[0], (f"{n:05}.cls", str(n)))])
    data = read(file)
    assert data.classes == ("9", "11", "100") and data.everything().labels.tolist() == [1, 0, 2]


def test_classes_are_the_folders_that_the_members_are_in(tmp_path):
    file = tar(
        tmp_path / "a.tar", [("./sea/1.png", png(1)), ("./air/x/2.png", png(2)), ("./sea/3.png", png(3))]
    )
    data = read(file, label="folder", text="none")
    assert data.classes == ("air", "sea") and data.everything().labels.tolist() == [1, 0, 1]
    file = tar(tmp_path / "b.tar", [("1.png", png(1))])
    with pytest.raises(DataError, match="lies in no folder"):
        read(file, label="folder").check()


def test_latents_of_shards_are_kept(made, tmp_path):
    def encode(image):
        return image.float()[:, :2, :4, :4]

    images = read(made).split("val")
    about = {"split": "val", "data": "x"}
    rows = kept(images, (2, 4, 4), encode, tmp_path / "latents", about)
    index = torch.arange(len(images))
    batch = Latents(images, rows).batch(index)
    assert torch.equal(batch.latent, encode(images.batch(index).image)) and batch.text == list(images.texts)


def test_a_mixture_may_have_shards(made):
    mix = Mix({"a": read(made), "b": read(made, text="kind")}, {"a": 1.0, "b": 1.0})
    assert len(mix.split("train")) == 2 * len(read(made).split("train"))


def test_above_a_million_the_held_out_alone_are_in_memory():
    count = 1_000_003
    train, val, test = _split(count, 500, 700)
    assert isinstance(train, Others) and len(train) == count - 1200
    every = torch.cat([train[torch.arange(len(train))], val, test])
    assert torch.equal(every.sort().values, torch.arange(count))
    assert train[torch.tensor([0, 1, 2])].diff().min() > 0


def test_the_index_is_made_once_and_again_when_a_shard_changes(own, capfd):
    first = read(own).everything().fingerprint()
    assert "making the index" in capfd.readouterr().out
    (index,) = (own.parent / "cache").glob("*.safetensors")
    before = index.stat().st_mtime_ns
    assert read(own).everything().fingerprint() == first
    assert "making the index" not in capfd.readouterr().out and index.stat().st_mtime_ns == before
    # the same name and length, other pictures
    shard = sorted(own.glob("*.tar"))[1]
    content = shard.read_bytes()
    tar(shard, [part for n in range(8, 16) for part in [*sample(n)[1:], (f"{n:05}.png", png(n))]])
    assert len(shard.read_bytes()) == len(content)
    told = shard.stat().st_mtime_ns
    os.utime(shard, ns=(told, told + 1))
    data = read(own)
    assert len(data.records) == COUNT and "another size or time" in capfd.readouterr().err
    assert index.stat().st_mtime_ns != before
    assert torch.equal(data.everything().batch(torch.tensor([9])).image, _picture(9))
    assert data.everything().fingerprint() != first


def _picture(number):
    from io import BytesIO

    import numpy as np
    from PIL import Image

    return torch.from_numpy(np.array(Image.open(BytesIO(png(number))))).permute(2, 0, 1)[None]


@pytest.mark.parametrize("damage", ["cut", "flip", "empty"])
def test_a_damaged_index_is_made_again(own, damage):
    image = read(own).everything().batch(torch.tensor([4])).image
    (index,) = (own.parent / "cache").glob("*.safetensors")
    content = index.read_bytes()
    far = content.replace((8).to_bytes(8, "little"), (1 << 60).to_bytes(8, "little"))
    index.write_bytes({"cut": content[: len(content) // 2], "flip": far, "empty": b""}[damage])
    assert torch.equal(read(own).everything().batch(torch.tensor([4])).image, image)


def test_nothing_is_left_of_an_index_that_failed(own):
    (own / "000001.tar").write_bytes((own / "000001.tar").read_bytes()[:3000])
    with pytest.raises(DataError):
        read(own).check()
    assert not [path for path in (own.parent / "cache").iterdir() if path.suffix != ".lock"]


def cut(own):
    shard = own / "000002.tar"
    shard.write_bytes(shard.read_bytes()[:9000])


def cut_between(own):
    """The members are whole, and the end is missing."""
    shard = own / "000002.tar"
    with tarfile.open(shard) as archive:
        ends = [m.offset for m in archive.getmembers()]
    shard.write_bytes(shard.read_bytes()[: ends[4]])


def overwritten(own):
    shard = own / "000002.tar"
    content = bytearray(shard.read_bytes())
    with tarfile.open(shard) as archive:
        at = archive.getmembers()[5].offset
    content[at : at + 512] = b"x" * 512
    shard.write_bytes(content)


@pytest.mark.parametrize("damage", [cut, cut_between, overwritten])
def test_a_damaged_shard_is_named_or_its_whole_part_taken(own, damage):
    damage(own)
    with pytest.raises(DataError, match="cut short or damaged") as error:
        read(own).check()
    assert error.value.where == str(own / "000002.tar") and "data.broken=skip" in error.value.do
    data = read(own, broken="skip")
    data.check()
    texts = set(data.everything().texts)
    assert {f"picture {n}" for n in [*range(16), *range(24, 30)]} <= texts and len(data.records) < COUNT


def test_notes_in_a_shard_are_bounded(own):
    info = tarfile.TarInfo("notes")
    info.type, info.size = tarfile.XHDTYPE, 100_000
    content = info.tobuf(tarfile.GNU_FORMAT) + b"9" * 100_352 + bytes(1024)
    (own / "000002.tar").write_bytes(content)
    with pytest.raises(DataError, match="100,000 bytes of a name or of notes") as error:
        read(own).check()
    assert error.value.where == str(own / "000002.tar")


def packed(own):
    import gzip

    shard = own / "000000.tar"
    (own / "000000.tar.gz").write_bytes(gzip.compress(shard.read_bytes()))
    shard.unlink()


def packed_in_disguise(own):
    import gzip

    shard = own / "000000.tar"
    shard.write_bytes(gzip.compress(shard.read_bytes()))


def broken_picture(own):
    tar(own / "000000.tar", [("00007.png", png(7)[:60]), *sample(8)])


def not_together(own):
    """The pictures, and then what belongs to them."""
    one, other = sample(8), sample(9)
    tar(own / "000001.tar", [one[0], other[0], *one[1:], *other[1:]])


def link_to_nothing(own):
    (own / "000009.tar").symlink_to("nowhere.tar")


def number_for_caption(own):
    tar(own / "000000.tar", [("00007.png", png(7)), ("00007.json", {"caption": 7, "cls": "a"})])


@pytest.mark.parametrize(
    ("damage", "options", "what", "where", "do"),
    [
        (packed, {}, "compressed by gzip", "000000.tar.gz", "gunzip"),
        (not_together, {}, "no column cls", "data.label", "has to stand together"),
        (link_to_nothing, {}, "cannot be read: No such file", "000009.tar", "mend or remove it"),
        (packed_in_disguise, {}, "compressed by gzip", "000000.tar", "gunzip"),
        (None, {"text": "capion"}, "no column capion", "data.text", "data.text=caption"),
        (None, {"label": "kin"}, "no column kin", "data.label", "data.label=kind"),
        (None, {"image": "pgn"}, "no column pgn", "data.image", "data.image=png"),
        (None, {"text": "score"}, "score is float, and no text|score is a number", "00000", "data.text=none"),
        (None, {"label": "caption"}, "caption is a list, and no class", "00000", "data.label=none"),
        (
            number_for_caption,
            {"text": "caption"},
            "caption is a number",
            "000000.tar, 00007",
            "data.text=none",
        ),
        (None, {"files": "*.tarr"}, "no file in this folder matches", "own", "data.files"),
    ],
)
def test_bad_input_is_one_line(own, damage, options, what, where, do):
    if damage:
        damage(own)
    with pytest.raises(DataError, match=what) as error:
        read(own, **options).check()
    assert where in error.value.where and do in error.value.do


def test_a_picture_that_cannot_be_decoded_is_named_by_shard_and_key(own):
    broken_picture(own)
    with pytest.raises(DataError) as error:
        read(own, text="none", label="none").everything().batch(torch.tensor([0]))
    assert error.value.where == f"{own / '000000.tar'}, 00007"
    images = read(own, text="none", label="none", broken="skip").everything()
    assert images.batch(torch.tensor([0])).index.tolist() == [1]


def test_a_link_or_a_folder_that_is_not_there(own, tmp_path):
    with pytest.raises(DataError, match="no such folder"):
        read(tmp_path / "nowhere").check()
    (own / "000009.tar").symlink_to(tar(tmp_path / "elsewhere.tar", sample(1)))
    with pytest.raises(DataError, match="link out of the folder"):
        read(own).check()
    assert len(read(own, links="follow").records) == COUNT + 1


def test_a_member_that_is_a_link_is_refused(own):
    with tarfile.open(own / "000000.tar", "w") as archive:
        info = tarfile.TarInfo("1.png")
        info.type, info.linkname = tarfile.SYMTYPE, "secret"
        archive.addfile(info)
    with pytest.raises(DataError, match="is a link or no plain file"):
        read(own).check()
