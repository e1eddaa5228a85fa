"""Tables with pictures are read by the number of the row, and what is wrong with one is said before."""

import json

import pytest
import torch
from tars import png

from diffexp.data import Parquet
from diffexp.errors import ConfigError, DataError

pa = pytest.importorskip("pyarrow", exc_type=ImportError)
COUNT = 20
FEATURES = {"label": {"names": ["zebra", "ant"], "_type": "ClassLabel"}}


def table(start, count, **columns):
    """Rows as `datasets` writes them: pictures as bytes and path, classes with their names."""
    numbers = range(start, start + count)
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    data = {
        "image": pa.array([{"bytes": png(n), "path": f"{n}.png"} for n in numbers], image),
        "label": pa.array([n % 2 for n in numbers]),
        "text": pa.array([f"picture {n}" for n in numbers]),
        "several": pa.array([[f"a {n}", f"b {n}"] for n in numbers]),
        **columns,
    }
    told = {"huggingface": json.dumps({"info": {"features": FEATURES}})}
    return pa.table(data).replace_schema_metadata(told)


@pytest.fixture
def own(tmp_path):
    import pyarrow.parquet as pq

    folder = tmp_path / "own"
    folder.mkdir()
    for start in (0, 13):
        made = table(start, 13 if start == 0 else COUNT - 13)
        pq.write_table(made, folder / f"train-{start:05}.parquet", row_group_size=5)
    return folder


def read(path, **options):
    cache = str(path.parent / "cache")
    return Parquet(str(path), **{"size": 8, "stream": True, "cache": cache, **options})


def check_rows(data):
    batch = data.everything().batch(torch.arange(COUNT))
    assert batch.text == [f"picture {n}" for n in range(COUNT)]
    assert data.classes == ("zebra", "ant") and batch.label.tolist() == [n % 2 for n in range(COUNT)]
    from io import BytesIO

    import numpy as np
    from PIL import Image

    for number in (0, 12, 13, 19):
        with Image.open(BytesIO(png(number))) as image:
            assert (batch.image[number].permute(1, 2, 0).numpy() == np.array(image)).all()


def test_rows_are_read_by_their_number(own):
    check_rows(read(own))
    images = read(own).split("train")
    assert len(images) == COUNT - 2
    assert read(own).split("train").fingerprint() == images.fingerprint()


def test_what_save_to_disk_writes_is_read(tmp_path):
    folder = tmp_path / "own"
    folder.mkdir()
    for start, count in ((0, 13), (13, COUNT - 13)):
        made = table(start, count)
        with (
            pa.OSFile(str(folder / f"data-{start:05}.arrow"), "wb") as file,
            pa.ipc.new_stream(file, made.schema) as stream,
        ):
            stream.write_table(made, max_chunksize=4)
    check_rows(read(folder, files="*.arrow"))


def test_a_row_may_have_several_captions(own):
    captions = read(own, text="several").everything().captions
    assert captions[7] == ("a 7", "b 7") and captions.varies and len(captions.every()) == 2 * COUNT


@pytest.mark.parametrize(
    ("options", "what", "where", "do"),
    [
        ({"text": "txet"}, "no column txet", "data.text", "data.text=text"),
        ({"label": "lable"}, "no column lable", "data.label", "data.label=label"),
        ({"image": "imag"}, "no column imag", "data.image", "data.image=image"),
        ({"text": "label"}, "the column label is int64, and no text", "data.text", "data.text=none"),
        ({"image": "text"}, "the column text is string, and no pictures", "data.image", "datasets.Image"),
        ({"label": "several"}, "several is a list, and no class", "row 0", "data.label=none"),
    ],
)
def test_a_wrong_column_is_one_line(own, options, what, where, do):
    with pytest.raises(DataError, match=what) as error:
        read(own, **options).check()
    assert where in error.value.where and do in error.value.do


def test_what_is_wrong_with_a_file_or_a_row_is_said(own):
    import pyarrow.parquet as pq

    whole = (own / "train-00013.parquet").read_bytes()
    (own / "train-00013.parquet").write_bytes(whole[:-40])
    with pytest.raises(DataError, match="this table cannot be read") as error:
        read(own).check()
    assert error.value.where.endswith("train-00013.parquet")
    no_bytes = [{"bytes": None, "path": f"{n}.png"} for n in range(3)]
    pq.write_table(table(0, 3, image=pa.array(no_bytes)), own / "train-00013.parquet")
    with pytest.raises(DataError, match=r"holds the path 0\.png and no bytes") as error:
        read(own).check()
    assert error.value.where.endswith("train-00013.parquet, row 0")
    broken = [{"bytes": png(n)[:50], "path": ""} for n in range(3)]
    pq.write_table(table(0, 3, image=pa.array(broken)), own / "train-00013.parquet")
    with pytest.raises(DataError, match="this image cannot be used") as error:
        read(own).everything().batch(torch.tensor([14]))
    assert error.value.where.endswith("train-00013.parquet, row 1")


def write(path, *tables):
    import pyarrow.parquet as pq

    path.mkdir()
    for number, made in enumerate(tables):
        pq.write_table(made, path / f"{number}.parquet")
    return path


def test_other_forms_of_pictures_and_captions_are_read(tmp_path):
    plain = pa.array([png(n) for n in range(COUNT)], pa.large_binary())
    words = pa.array([f"picture {n}" for n in range(COUNT)]).dictionary_encode()
    check_rows(read(write(tmp_path / "own", table(0, 0), table(0, COUNT, image=plain, text=words))))


def test_a_row_without_a_picture_is_named_or_left_out(tmp_path, capfd):
    some = [None if n == 4 else {"bytes": png(n), "path": ""} for n in range(COUNT)]
    path = write(tmp_path / "own", table(0, COUNT, image=pa.array(some)))
    with pytest.raises(DataError, match="image is empty") as error:
        read(path).check()
    assert error.value.where.endswith("0.parquet, row 4") and "data.broken=skip" in error.value.do
    left = read(path, broken="skip", stream=False).everything()
    assert list(left.texts) == [f"picture {n}" for n in range(COUNT) if n != 4]
    assert "left out, for they cannot be read (data.broken=skip): 0.parquet, row 4" in capfd.readouterr().out
    with pytest.raises(DataError, match="this image cannot be used") as error:
        read(path, stream=False).check()
    assert error.value.where.endswith("0.parquet, row 4")


@pytest.mark.parametrize(
    ("second", "what", "where"),
    [
        ({"text": pa.array(range(3))}, "text is int64, and no text, in .*1.parquet", "data.text"),
        ({"image": pa.array(["a.png"] * 3)}, "image is string, and no pictures, in .*1", "data.image"),
        ({"text": None}, "no column text in .*1.parquet", "data.text"),
        ({"label": pa.array([0, 1, -1])}, "label is -1, and .* classes 0 to 1", "1.parquet, row 2"),
        ({"text": pa.array([b"\xff"] * 3).view(pa.string())}, "cannot be read: 'utf-8'", "1.parquet"),
        ({"label": pa.array([2**60] * 3, pa.timestamp("us"))}, "this table cannot be read", "1.parquet"),
    ],
)  # fmt: skip
def test_a_table_unlike_the_first_is_named_with_the_column(tmp_path, second, what, where):
    columns = {name: column for name, column in second.items() if column is not None}
    other = table(0, 3, **columns).drop_columns([name for name, column in second.items() if column is None])
    with pytest.raises(DataError, match=what) as error:
        read(write(tmp_path / "own", table(0, 9), other)).check()
    assert where in error.value.where
    assert not [path for path in (tmp_path / "cache").iterdir() if path.suffix != ".lock"]


def test_tables_without_pictures_rows_or_with_a_column_twice_are_refused(tmp_path):
    made = table(0, 3)
    photos = made.rename_columns(["photo", *made.column_names[1:]])
    twice = made.append_column("text", made["text"])
    for number, (wrong, what, do) in enumerate(
        (
            (photos, "which column of .* has the pictures", "data.image=photo"),
            (photos.drop_columns(["photo"]), "no column of .* has pictures", "a column of bytes"),
            (twice, "text is there 2 times", "data.text=COLUMN"),
            (table(0, 0), "no picture in these files", "look at"),
        )
    ):
        with pytest.raises(DataError, match=what) as error:
            read(write(tmp_path / f"{number}", wrong)).check()
        assert do in error.value.do


def test_a_pack_that_is_gone_is_made_again(own):
    check_rows(read(own))
    (pack,) = (own.parent / "cache").glob("*.images")
    pack.write_bytes(pack.read_bytes()[:100])
    check_rows(read(own))
    pack.unlink()
    check_rows(read(own))


def test_without_pyarrow_the_extra_is_named(own, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(ConfigError, match="not installed") as error:
        read(own).check()
    assert error.value.do == "pip install 'diffexp[parquet]'"
