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
