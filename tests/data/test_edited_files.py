"""Files edited at random: each is read, or refused with an error of ours, and none ends in one of Python."""

import io
import json
import random
import zipfile

import numpy as np
import pytest
from test_folder import paint

from diffexp.data import Folder, Npz
from diffexp.errors import DiffexpError

COUNT = 300
NAMES = [f"{i}.png" for i in range(6)]
TOKENS = [
    b"\0", b"\xff", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\\ud800", b"\\u0000", b"NaN", b"-Infinity", b"1e999",
    b"9" * 5000, b"[" * 3000, b'{"a":' * 3000, b'"', b"'", b",", b"\n", b"\r", b"\r\n", b"\t", b"\x85",
    "\x85\u2028\u202e".encode(), b"../", b"/etc/passwd", b"x" * 300, b"x" * 140_000, b'"' + b"y" * 140_000,
    b"null", b"true", b"{}", b"[]", b"file_name", b"text", b"PK\x03\x04", b"PK\x05\x06", b"\x93NUMPY",
]  # fmt: skip
VALUES = [
    None, True, False, 0, -1, 2**70, 10**4000, 1.5, float("nan"), float("inf"), "", " ", "\0", "\ud800",
    "\udcff", "\ufeffx", "a\x85b\u2028c", "..", ".", "/", "../0.png", "/dev/zero", "x" * 5000, "a/" * 3000,
    "0.png", "0.png\0", "sub/../0.png", "~", [], {}, ["0.png"], {"a": {"b": [None]}}, 1 << 64,
]  # fmt: skip


def edited(draw, content):
    """The bytes after one to four changes."""
    for _ in range(draw.randint(1, 4)):
        place = draw.randrange(len(content) + 1)
        lines = content.split(b"\n")
        line = draw.randrange(len(lines))
        match draw.randrange(7):
            case 0 if content:
                place %= len(content)
                content = (
                    content[:place] + bytes([content[place] ^ 1 << draw.randrange(8)]) + content[place + 1 :]
                )
            case 1:
                content = content[:place]
            case 2:
                content = content[:place] + draw.choice(TOKENS) + content[place:]
            case 3:
                content = content[:place] + draw.randbytes(draw.randint(1, 9)) + content[place:]
            case 4:
                content = b"\n".join([*lines[: line + 1], *lines[line:]])
            case 5:
                content = b"\n".join(lines[:line] + lines[line + 1 :])
            case 6:
                end = place + draw.randint(1, 40)
                content = content[:place] + draw.choice(TOKENS) + content[end:]
    return content


def json_lines(draw):
    rows = [
        {"file_name": name, "text": f"a {i}", "kind": "ab"[i % 2], "n": i} for i, name in enumerate(NAMES)
    ]
    if draw.random() < 0.5:
        return edited(draw, "\n".join(map(json.dumps, rows)).encode())
    row = draw.choice(rows)
    row[draw.choice([*row, "new", "\ud800", ""])] = draw.choice(VALUES)
    whole = draw.random() < 0.1
    return "\n".join(json.dumps(draw.choice(VALUES) if whole else r) for r in rows).encode()


def table(draw):
    rows = [["file_name", "text", "kind"]] + [[name, f"a {i}", "ab"[i % 2]] for i, name in enumerate(NAMES)]
    if draw.random() < 0.5:
        rows[draw.randrange(7)][draw.randrange(3)] = str(draw.choice(VALUES[:6] + VALUES[7:]))
        return "\n".join(map(",".join, rows)).encode(errors="surrogatepass")
    return edited(draw, "\n".join(map(",".join, rows)).encode())


def look_at(data):
    """All that a job asks of a data set."""
    data.check()
    for split in ("train", "val", "test"):
        data.counts(split)
        data.fingerprint(split)
        list(data.batches(split, 2))
    return data.classes, data.shape


def outcomes(make, count=COUNT):
    """How many of the files were read, and how many refused."""
    found = {"read": 0, "refused": 0}
    for number in range(count):
        draw = random.Random(number)
        data = make(draw)
        try:
            look_at(data())
            found["read"] += 1
        except DiffexpError as error:
            assert error.what and len(str(error)) < 20_000, number
            str(error).encode()
            found["refused"] += 1
        except Exception as error:
            raise AssertionError(f"file number {number}") from error
    return found


@pytest.fixture
def folder(tmp_path):
    paint(tmp_path, NAMES, (4, 4))
    return tmp_path


def options(draw):
    return {
        "label": draw.choice(["folder", "none", "kind", "text", "n"]),
        "text": draw.choice(["text", "text", "none", "kind"]),
        "stream": draw.choice([True, False]),
        "broken": draw.choice(["error", "skip"]),
        "links": draw.choice(["refuse", "follow"]),
    }


@pytest.mark.filterwarnings("ignore")  # which are no errors to a user either
@pytest.mark.parametrize(("name", "make"), [("metadata.jsonl", json_lines), ("metadata.csv", table)])
def test_edited_rows_are_read_or_refused(folder, name, make):
    def data(draw):
        (folder / name).write_bytes(make(draw))
        return lambda: Folder(str(folder), 4, mode="L", **options(draw))

    found = outcomes(data)
    assert min(found.values()) > COUNT // 20, found


@pytest.mark.filterwarnings("ignore")
def test_edited_captions_are_read_or_refused(folder):
    def data(draw):
        for i in range(6):
            (folder / f"{i}.txt").write_bytes(f"a caption of {i}\nin two lines\n".encode())
        changed = folder / f"{draw.randrange(6)}.txt"
        changed.write_bytes(edited(draw, changed.read_bytes()))
        return lambda: Folder(str(folder), 4, mode="L", **options(draw) | {"label": "none", "text": "text"})

    found = outcomes(data)
    assert min(found.values()) > COUNT // 20, found


def arrays(draw):
    images = np.random.default_rng(0).integers(0, 256, (12, 4, 4), dtype=np.uint8)
    labels = np.arange(12) % 3
    if draw.random() < 0.5:
        dtype = draw.choice(
            ["u1", "i1", "<u8", ">i4", "f2", "?", "c8", "S3", "U2", "M8[s]", "V0", "V4", "i4,f4", "O"]
        )
        shape = draw.choice(
            [(), (0,), (12,), (12, 4), (12, 1), (12, 4, 4), (12, 3, 4, 3), (12, 3, 4, 4), (1, 2, 3, 4)]
        )
        other = (
            np.zeros(shape, dtype) if draw.random() < 0.7 else np.full(12, draw.choice([-1, 1, 999, 2**62]))
        )
        images, labels = draw.choice([(other, labels), (images, other), (images, labels[:5]), (other, other)])
    return draw.choice(
        [{"images": images, "labels": labels}, {"arr_0": images, "arr_1": labels}, {"arr_0": images}]
    )


def archive(draw):
    """Edited as a whole, or in one of its arrays, of which the checksum is then right."""
    file, inner = io.BytesIO(), draw.random() < 0.6
    with zipfile.ZipFile(file, "w", draw.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])) as into:
        for name, array in arrays(draw).items():
            part = io.BytesIO()
            np.lib.format.write_array(part, array)
            content = part.getvalue()
            if inner and draw.random() < 0.5:
                huge = draw.choice([b"(99999999999,", b"(12, 99999999999,", b"(-1,", b"('a',", b"(1e9,"])
                content = content.replace(b"(12,", huge) if draw.random() < 0.3 else edited(draw, content)
            into.writestr(draw.choice([f"{name}.npy"] * 5 + [name]), content)
    return file.getvalue() if inner else edited(draw, file.getvalue())


@pytest.mark.filterwarnings("ignore")
def test_edited_archives_are_read_or_refused(tmp_path):
    def data(draw):
        (tmp_path / "a.npz").write_bytes(archive(draw))
        classes = draw.choice([None, None, ("a", "b", "c")])
        return lambda: Npz(str(tmp_path / "a.npz"), draw.choice([None, str(tmp_path / "a.npz")]), classes)

    found = outcomes(data, 2 * COUNT)
    assert min(found.values()) > COUNT // 20, found


@pytest.mark.filterwarnings("ignore")
def test_edited_pictures_are_read_or_refused(folder):
    from PIL import Image

    kinds = {
        "png": "PNG",
        "jpg": "JPEG",
        "gif": "GIF",
        "bmp": "BMP",
        "ppm": "PPM",
        "tif": "TIFF",
        "webp": "WEBP",
    }
    whole = {}
    for ending, kind in kinds.items():
        file = io.BytesIO()
        Image.effect_noise((4, 4), 50).convert("RGB").save(file, kind)
        whole[ending] = file.getvalue()

    def data(draw):
        for old in folder.iterdir():
            old.unlink()
        paint(folder, NAMES[:3], (4, 4))
        ending = draw.choice([*kinds])
        (folder / f"z.{ending}").write_bytes(edited(draw, whole[draw.choice([ending, ending, *kinds])]))
        return lambda: Folder(str(folder), 4, **options(draw) | {"label": "none", "text": "text"})

    found = outcomes(data)
    assert min(found.values()) > COUNT // 20, found


def test_what_marks_and_separators_a_caption_holds_it_keeps(folder):
    """U+0085 and U+2028 are no ends of lines, and a mark of byte order is one at the beginning alone."""
    text = "\x85one\u2028two\u2029 \ufeffthree\x0b\x1c\x85"
    for ending in ("jsonl", "csv"):
        for bom in (b"", b"\xef\xbb\xbf"):
            rows = [{"file_name": name, "text": text} for name in NAMES]
            lines = [json.dumps(row, ensure_ascii=False) for row in rows]
            if ending == "csv":
                lines = ["file_name,text", *(f"{name},{text}" for name in NAMES)]
            (folder / f"metadata.{ending}").write_bytes(bom + "\r\n".join(lines).encode())
            assert Folder(str(folder), 4).texts == [text] * 6
        (folder / f"metadata.{ending}").unlink()
    for name in NAMES:
        (folder / name).with_suffix(".txt").write_bytes(b"\xef\xbb\xbf" + f" {text}\r\n".encode())
    assert Folder(str(folder), 4).texts == [text] * 6
