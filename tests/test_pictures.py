"""Grids: the size, the pixels and the words of the picture."""

import numpy as np
import pytest
import torch

from diffexp.errors import ConfigError, ResourceError
from diffexp.pictures import GAP, HEAD, LEAST, LINE, MARGIN, PAPER, captioned, grid, save


def plain(n, value=90, size=8, channels=1):
    return torch.full((n, channels, size, size), value, dtype=torch.uint8)


def inked(part):
    return bool((np.asarray(part) != PAPER).any())


def test_small_images_are_enlarged_pixel_by_pixel():
    images = torch.arange(64, dtype=torch.uint8).view(1, 1, 8, 8) * 3
    page = np.asarray(grid(images, size=80))
    assert page.shape == (80 + 2 * MARGIN, 80 + 2 * MARGIN, 3)
    inside = page[MARGIN:-MARGIN, MARGIN:-MARGIN]
    assert (inside == images[0, 0].numpy().repeat(10, 0).repeat(10, 1)[..., None]).all()
    assert (page[:MARGIN] == PAPER).all()


@pytest.mark.parametrize("about", [80, 96])
@pytest.mark.parametrize(("side", "factor"), [(8, None), (28, 3), (32, 3), (256, 1)])
def test_factor_is_whole(side, factor, about):
    page = grid(plain(1, size=side, channels=3), size=about)
    assert page.size == (side * (factor or about // 8) + 2 * MARGIN,) * 2


@pytest.mark.parametrize(("height", "width", "factor"), [(16, 24, 3), (24, 16, 3), (64, 96, 1), (2, 40, 2)])
def test_images_that_are_not_square_keep_their_shape(height, width, factor):
    """Enlarged by the longer side, by the same factor both ways."""
    images = torch.arange(height * width).view(1, 1, height, width).expand(3, 1, -1, -1).to(torch.uint8)
    page = np.asarray(grid(images, columns=3, size=80))
    high, wide = factor * height, factor * width
    assert page.shape == (high + 2 * MARGIN, 3 * wide + 2 * GAP + 2 * MARGIN, 3)
    last = page[MARGIN : MARGIN + high, MARGIN + 2 * (wide + GAP) : -MARGIN]
    assert (last[::factor, ::factor, 0] == images[2, 0].numpy()).all()


def test_without_labels_nearly_square_in_reading_order():
    images = torch.arange(7, dtype=torch.uint8).view(7, 1, 1, 1).expand(7, 1, 8, 8) * 20
    page = grid(images, size=8)
    assert page.size == (3 * 8 + 2 * GAP + 2 * MARGIN,) * 2
    at = [(MARGIN + i % 3 * (8 + GAP), MARGIN + i // 3 * (8 + GAP)) for i in range(9)]
    assert [page.getpixel(p) for p in at] == [(20 * i,) * 3 for i in range(7)] + [PAPER, PAPER]
    assert page.getpixel((MARGIN + 8, MARGIN)) == PAPER


def test_columns_are_kept_without_labels():
    assert grid(plain(7), columns=7, size=8).size == (7 * 8 + 6 * GAP + 2 * MARGIN, 8 + 2 * MARGIN)


def test_colours_are_kept():
    images = torch.tensor([10, 20, 30], dtype=torch.uint8).view(1, 3, 1, 1).expand(1, 3, 8, 8)
    assert grid(images, size=8).getpixel((MARGIN, MARGIN)) == (10, 20, 30)


def test_each_label_has_rows_and_a_head():
    labels = ["boot"] * 3 + ["bag"] * 12 + ["shirt"]
    page = np.asarray(grid(plain(16), labels, columns=10, size=40))
    rows = (3, 10, 2, 1)
    assert page.shape[0] == len(rows) * 40 + (len(rows) - 1) * GAP + 2 * MARGIN
    left = page.shape[1] - MARGIN - 10 * 40 - 9 * GAP
    assert left > MARGIN + 20
    for r, (count, headed) in enumerate(zip(rows, (True, True, False, True), strict=True)):
        strip = page[MARGIN + r * (40 + GAP) : MARGIN + r * (40 + GAP) + 40]
        assert inked(strip[:, :left]) == headed
        end = left + count * 40 + (count - 1) * GAP
        assert (strip[:, end - 40 : end] == 90).all() and not inked(strip[:, end:])


def test_a_head_is_never_cut():
    name = "a class of a name much longer than is wise\nin two lines"
    page = np.asarray(grid(plain(2), [name, "b"], size=40))
    assert page.shape[1] > 350 and not inked(page[:, :MARGIN]) and inked(page[:, MARGIN : MARGIN + 20])


@pytest.mark.parametrize("between", [" ", "_"])
def test_long_title_is_broken_into_lines_not_cut(between):
    words = "step 1200, 25 calls, fid_digits64 2.371, accuracy_svm 0.978".replace(" ", between)
    once, thrice = (np.asarray(grid(plain(4), size=80, title=between.join([words] * n))) for n in (1, 3))
    bare = grid(plain(4), size=80).height
    lines = [(page.shape[0] - bare - GAP) / LINE for page in (once, thrice)]
    assert lines[0] in (2, 3) and lines[1] in (5, 6, 7)
    for page in (once, thrice):
        assert page.shape[1] <= LEAST + 2 * MARGIN
        assert not inked(page[:, -MARGIN:]) and not inked(page[:MARGIN])
        titles = page[MARGIN : page.shape[0] - bare + MARGIN - GAP]
        assert all(inked(titles[k : k + LINE]) for k in range(0, len(titles), LINE))


def test_all_letters_of_a_title_are_drawn():
    wide = grid(plain(30), columns=30, size=80, title="fid_digits64" * 10)
    narrow = grid(plain(1), size=80, title="fid_digits64" * 10)
    dark = [int((np.asarray(page.convert("L")) < 135).sum()) for page in (wide, narrow)]
    tiles = [30 * 80**2, 80**2]  # of the value 90, dark too
    letters = [d - t for d, t in zip(dark, tiles, strict=True)]
    assert letters[0] > 1000 and letters[1] == pytest.approx(letters[0], rel=0.1)


def test_title_does_not_widen_a_grid_that_has_room():
    assert grid(plain(4), size=80, title="step 1").width == grid(plain(4), size=80).width


def test_save_is_whole_and_makes_its_folder(tmp_path):
    path = tmp_path / "a" / "b.png"
    for value in (90, 200):
        save(grid(plain(4, value)), path)
    assert path.read_bytes().startswith(b"\x89PNG") and list(path.parent.iterdir()) == [path]


def test_save_that_fails_leaves_nothing(tmp_path):
    path = tmp_path / "taken.png"
    path.mkdir()
    with pytest.raises(ResourceError, match=r"cannot be written[\s\S]*taken\.png"):
        save(grid(plain(1)), path)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("images", "options", "message"),
    [
        (plain(0), {}, "no images"),
        (plain(2).float(), {}, r"float32[\s\S]*uint8"),
        (plain(2, channels=2), {}, r"\(2, 2, 8, 8\)"),
        (plain(2)[0], {}, r"\(1, 8, 8\)"),
        (plain(2), {"labels": ["a"]}, "1 labels for 2 images"),
        (plain(2), {"columns": 0}, "columns is 0"),
        (plain(2), {"size": 0}, "size is 0"),
    ],
)
def test_what_cannot_be_drawn_is_refused(images, options, message):
    with pytest.raises(ConfigError, match=message):
        grid(images, **options)


ODD = [
    "<b>x</b> & ../../etc/passwd",
    "x" * 100_000,
    "a\x00\x1b[31m\u202eb",
    "\udc80",
    "赤い",
    "كلب",
    "😀",
    "",
]


def test_heads_of_any_text_are_drawn_within_a_width():
    images = plain(len(ODD))
    page, alone = grid(images, ODD), grid(images, [str(i) for i in range(len(ODD))])
    assert page.height == alone.height and alone.width < page.width < alone.width + HEAD
    four = captioned(images, ODD)
    assert captioned(images, ODD, "a title").size == (four.width, four.height + LINE + GAP)


@pytest.mark.parametrize("times", [1, 12])
def test_the_title_over_captions_is_drawn_whole(times):
    """As over a grid of no captions: the same letters, of any number of metrics."""
    title = "step 10, right_ground_held_out 0.938, " * times
    page, bare = captioned(plain(8), ["a"] * 8, title), captioned(plain(8), ["a"] * 8)
    alone = grid(plain(1), title=title, columns=1)  # broken elsewhere
    dark = [int((np.asarray(one.convert("L")) < 85).sum()) for one in (page, bare, alone, grid(plain(1)))]
    assert dark[0] - dark[1] == pytest.approx(dark[2] - dark[3], rel=0.1) and dark[2] > 100 * times
    narrow = captioned(plain(1), ["a"], title)
    assert captioned(plain(1), ["a"]).width < narrow.width <= LEAST + 2 * MARGIN
    assert not inked(np.asarray(narrow)[:, -MARGIN:]) and not inked(np.asarray(page)[:, -MARGIN:])


def test_a_long_head_is_wrapped_and_cut():
    page = np.asarray(grid(plain(1, 255), ["word " * 60]))[..., 0]
    rows = (page[:, MARGIN : MARGIN + HEAD // 2] < 200).any(1).astype(int)
    assert (np.diff(rows) == 1).sum() == 3  # of four lines the last is "...", at the right
    assert page.shape[0] == 80 + 2 * MARGIN
