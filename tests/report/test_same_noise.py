"""Samples of several cells from the same noise: found in their grids, sorted, the change outlined."""

import base64
import io

import numpy as np
import pytest
import torch
from PIL import Image

from diffexp.metrics import Evaluation
from diffexp.pictures import TILES
from diffexp.report.same_noise import MARK, changed, distance, read_samples, side_by_side

PAIRING = {"noise": {"seed": 0, "shape": [1, 8, 8]}}


def a_grid(folder, images, texts=None, ranks=1, seed=0, features=None):
    labels = None if texts else torch.arange(len(images)) % 3
    pairing = {"noise": {"seed": seed, "shape": [1, 8, 8]}}
    drawn = Evaluation({}, {}, images, labels, 1, 0.0, {}, texts, {}, pairing, ranks, {}, features)
    return drawn.draw(None, "a title", folder / "grid.png")


def some(n=7, channels=1, size=8, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (n, channels, size, size), generator=generator, dtype=torch.uint8)


@pytest.mark.parametrize("texts", [None, ("a", "b", "a", "c", "a", "b", "d")])
@pytest.mark.parametrize(("channels", "size"), [(1, 8), (3, 100)])
def test_a_grid_gives_its_images_back(tmp_path, texts, channels, size):
    images = some(channels=channels, size=size)
    samples = read_samples(a_grid(tmp_path, images, texts, ranks=2))
    assert sorted(samples.images) == [0, 2, 4, 6, 8, 10, 12]
    want = images.expand(-1, 3, -1, -1).permute(0, 2, 3, 1).numpy()
    assert all(np.array_equal(samples.images[2 * i], want[i]) for i in range(7))


def test_what_is_changed_most_is_outlined_and_sorted(tmp_path):
    a = torch.full((12, 1, 32, 32), 100, dtype=torch.uint8)
    b = a.clone()
    for i in range(12):
        b[i, :, 8:12, 20:24] += 10 * i  # a square, the more the later
    html = side_by_side([("a", a_grid(tmp_path / "a", a)), ("<b>", a_grid(tmp_path / "b", b))])
    rows = html.split("<th scope=row>")[1:]
    assert [int(row.partition("<")[0]) for row in rows] == [11, 10, 9, 8, 7, 6, 4, 3, 1, 0]
    assert f"<small>{110 / 8:.3g}</small>" in rows[0] and "<b>" not in html and "&lt;b&gt;" in html
    tile = html.split("base64,")[2].partition("'")[0]
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(tile))))
    marked = np.argwhere((pixels == MARK).all(-1)) / (pixels.shape[0] / 32)
    assert len(marked) and (marked.min(0) >= (6, 18)).all() and (marked.max(0) <= (14, 26)).all()


def test_features_sort_before_pixels_where_all_have_the_same(tmp_path):
    a, b = some(4), some(4, seed=1)
    kept = torch.arange(12.0).view(4, 3)
    moved = kept + torch.tensor([0, 3, 1, 2.0])[:, None] * torch.tensor([0, 0.6, 0.8])
    one = a_grid(tmp_path / "a", a, features=("net f00", kept))
    two, other = (a_grid(tmp_path / n, b, features=(f"net {n}", moved)) for n in ("f00", "f11"))
    html = side_by_side([("a", one), ("b", two)])
    rows = html.split("<th scope=row>")[1:]
    assert [int(row.partition("<")[0]) for row in rows] == [1, 3, 2, 0] and "by the features of net:" in html
    assert (
        f"<small>3 · {distance(read_samples(one).images[1], read_samples(two).images[1]):.3g}</small>"
        in rows[0]
    )
    for others in ([("c", other)], [("b", two), ("c", other)], [("d", a_grid(tmp_path / "d", b))]):
        assert "features" not in side_by_side([("a", one), *others])
    large = Evaluation({}, {}, a, None, 1, 0.0, features=("net", torch.full((4, 3), 7e4)), pairing=PAIRING)
    assert read_samples(large.draw(None, "", tmp_path / "large.png")).features == {}  # no float16


def test_distance_and_region():
    a, b = np.zeros((16, 16, 3), np.uint8), np.zeros((16, 16, 3), np.uint8)
    assert distance(a, b) == 0 and not changed(a, b).any()
    b[0, 0], b[4:8, 4:8] = 255, 255
    assert distance(a, b) == pytest.approx(255 * (17 / 256) ** 0.5)
    where = changed(a, b)
    assert where[5, 5] and not where[12, 12] and where.sum() <= 17


def test_images_of_other_noise_or_none_are_left_out(tmp_path):
    images = some()
    base, same = a_grid(tmp_path / "a", images), a_grid(tmp_path / "b", images)
    other = a_grid(tmp_path / "c", images, seed=1)
    Image.new("RGB", (50, 50)).save(tmp_path / "plain.png")
    assert read_samples(tmp_path / "plain.png") is None and read_samples(tmp_path / "none.png") is None
    assert side_by_side([("a", base), ("c", other), ("plain", tmp_path / "plain.png")]) == ""
    assert side_by_side([("plain", tmp_path / "plain.png"), ("a", base), ("b", same)]) == ""
    html = side_by_side([("a", base), ("c", other), ("b", same)])
    assert "<th scope=col>b</th>" in html and "<th scope=col>c</th>" not in html


@pytest.mark.parametrize(
    "wrong",
    [
        '{"factor": 1}',
        "[" * 10_000,
        '{"factor": 1, "size": [8, 8], "at": [[9999, 0]], "numbers": [0], "noise": 0, "asked": 0}',
        '{"factor": 0, "size": [8, 8], "at": [[0, 0]], "numbers": [0], "noise": 0, "asked": 0}',
        '{"factor": 1, "size": [8, 8], "at": [[0, 0], [0, 0]], "numbers": [0, 0], "noise": 0, "asked": 0}',
        '{"factor": 1, "size": [8, 8], "at": [["a", 0]], "numbers": [0], "noise": 0, "asked": 0}',
    ],
)
def test_a_stranger_s_note_is_not_believed(tmp_path, wrong):
    from PIL.PngImagePlugin import PngInfo

    about = PngInfo()
    about.add_text(TILES, wrong)
    Image.new("RGB", (50, 50)).save(tmp_path / "x.png", pnginfo=about)
    assert read_samples(tmp_path / "x.png") is None
