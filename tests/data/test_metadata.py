"""What is told of the images of a folder: classes and captions by metadata.jsonl, metadata.csv or .txt."""

import json
import logging
import os
from pathlib import Path

import pytest
import torch
from test_folder import greys, paint

from diffexp.data import Folder
from diffexp.errors import DataError
from diffexp.training import DataModule

NAMES = [f"images/{i:02d}.png" for i in range(30)]
DATA = os.environ.get("DIFFEXP_DATA", "")


def told(i):
    return {"file_name": NAMES[i], "text": f"a picture of grey {i}", "kind": ("dark", "light")[i % 2], "n": i}


@pytest.fixture(params=["jsonl", "csv"])
def folder(tmp_path, request):
    """30 images, image i of grey i; the lines are not in the order of the names."""
    paint(tmp_path, NAMES)
    rows = [told(i) for i in reversed(range(30))]
    if request.param == "jsonl":
        text = "\n".join(json.dumps(row) for row in rows) + "\n\n"
    else:
        text = "file_name,text,kind,n\n" + "\n".join(",".join(map(str, row.values())) for row in rows)
    (tmp_path / f"metadata.{request.param}").write_text(text)
    return tmp_path


@pytest.mark.parametrize("stream", [False, True])
def test_each_image_keeps_its_caption_and_its_class(folder, stream):
    data = Folder(str(folder), 4, mode="L", label="kind", stream=stream)
    data.check()
    assert data.classes == ("dark", "light")
    seen = []
    for split in ("train", "val", "test"):
        for batch in data.batches(split, 7, workers=2):
            grey = batch.image[:, 0, 0, 0].tolist()
            assert batch.text == [f"a picture of grey {g}" for g in grey]
            assert batch.label.tolist() == [g % 2 for g in grey]
            seen += grey
    assert sorted(seen) == list(range(30))
    whole = data.everything().batch(torch.arange(30))
    assert whole.image[:, 0, 0, 0].tolist() == list(range(30)) and whole.text[7] == "a picture of grey 7"


def test_a_number_may_be_a_class_and_a_caption_too(folder):
    by_number = Folder(str(folder), 4, mode="L", label="n", text="kind")
    assert len(by_number.classes) == 30
    assert set(by_number.split("train").texts) == {"dark", "light"}
    by_caption = Folder(str(folder), 4, label="text")
    assert by_caption.classes[0] == "a picture of grey 0" and len(by_caption.classes) == 30
    assert Folder(str(folder), 4, text="none").split("train").texts is None


def test_captions_may_hold_what_breaks_lines(tmp_path):
    paint(tmp_path, ["a.png"])
    text = 'one\ntwo\u2028three "four"\x85'
    (tmp_path / "metadata.jsonl").write_text(
        json.dumps({"file_name": "a.png", "text": text}, ensure_ascii=False)
    )
    assert Folder(str(tmp_path), 4).texts == [text]
    (tmp_path / "metadata.jsonl").unlink()
    quoted = text.replace('"', '""')
    (tmp_path / "metadata.csv").write_text(f'file_name,text\na.png,"{quoted}"\n')
    assert Folder(str(tmp_path), 4).texts == [text]


def test_other_captions_are_other_data(folder):
    before = Folder(str(folder), 4).fingerprint("train")
    assert Folder(str(folder), 4, text="kind").fingerprint("train") != before
    assert Folder(str(folder), 4, text="none").fingerprint("train") != before
    assert Folder(str(folder), 4).fingerprint("train") == before


def test_what_is_not_named_is_left_out_and_said(folder, caplog):
    paint(folder, ["grid.png"])
    with caplog.at_level(logging.WARNING):
        assert len(Folder(str(folder), 4).files) == 30
    assert "1 images left out" in caplog.text


def test_trainer_is_given_captions(folder):
    module = DataModule(Folder(str(folder), 4, mode="L"), batch_size=8, flip=True)
    batch = next(iter(module.train_dataloader()))
    assert batch.text == [f"a picture of grey {g}" for g in batch.image[:, 0, 0, 0].tolist()]


@pytest.mark.parametrize(
    "line, what, where",
    [
        ('{"file_name": "a.png"', "no JSON", "metadata.jsonl:1"),
        ('["a.png"]', "no JSON object", "metadata.jsonl:1"),
        ('{"text": "x"}', "no file_name", "metadata.jsonl:1"),
        ('{"file_name": "../a.png"}', "outside of the folder", "metadata.jsonl:1"),
        ('{"file_name": "a.png"}\n{"file_name": "./a.png"}', "named twice", "metadata.jsonl:2"),
        ('{"file_name": "gone.png"}', "no image in the folder", "gone.png"),
        ("", "names no image", "metadata.jsonl"),
        ('{"file_name": "a.png", "text": "x"}\n{"file_name": "b.png"}', "has no text", "b.png"),
        ("\udcff", "cannot be read", "metadata.jsonl"),
    ],
)
def test_faults_of_the_file_are_told_with_their_line(tmp_path, line, what, where):
    paint(tmp_path, ["a.png", "b.png", "c.png"])
    (tmp_path / "metadata.jsonl").write_bytes(line.encode(errors="surrogateescape"))
    with pytest.raises(DataError, match=what) as error:
        Folder(str(tmp_path), 4).check()
    assert error.value.where.endswith(where)


@pytest.mark.parametrize("key", ["label", "text"])
def test_columns_that_are_not_there(folder, tmp_path, key):
    with pytest.raises(DataError, match=r"has no tpye, but kind, n, text"):
        Folder(str(folder), 4, **{key: "tpye"}).check()
    (bare := tmp_path / "bare").mkdir()
    paint(bare, ["a.png", "b.png", "c.png"])
    with pytest.raises(DataError, match=r"no metadata\.jsonl says tpye"):
        Folder(str(bare), 4, **{key: "tpye"}).check()


def test_captions_beside_the_images(tmp_path):
    paint(tmp_path, [f"{i}.png" for i in range(5)])
    for i in range(4):
        (tmp_path / f"{i}.txt").write_text(f"grey {i}\n")
    with pytest.raises(DataError, match="no caption, and 4 others have one") as error:
        Folder(str(tmp_path), 4, mode="L").check()
    assert error.value.where.endswith("4.png")
    (tmp_path / "4.txt").write_text("grey 4")
    part = Folder(str(tmp_path), 4, mode="L").split("train")
    assert part.texts == [f"grey {g}" for g in greys(part)]


@pytest.mark.skipif(not Path(DATA, "emoji64").is_dir(), reason="needs the captioned emoji")
def test_captioned_emoji():
    data = Folder(f"{DATA}/emoji64", 64, label="group")
    data.check()
    assert len(data.classes) == 9 and sum(len(data.split(s)) for s in ("train", "val", "test")) == 1609
    assert "rose" in data.split("test").texts
    assert len(set(data.texts)) == 1609
