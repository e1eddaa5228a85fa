"""Grids: the size, the pixels and the words of the picture."""

import numpy as np
import pytest
import torch

from diffexp.errors import ConfigError
from diffexp.pictures import GAP, MARGIN, PAPER, grid, save


def plain(n, value=90, size=8, channels=1):
    return torch.full((n, channels, size, size), value, dtype=torch.uint8)


def test_small_images_are_enlarged_pixel_by_pixel():
    images = torch.arange(64, dtype=torch.uint8).view(1, 1, 8, 8) * 3
    page = np.asarray(grid(images, size=80))
    assert page.shape == (80 + 2 * MARGIN, 80 + 2 * MARGIN, 3)
    inside = page[MARGIN:-MARGIN, MARGIN:-MARGIN]
    assert (inside[::10, ::10, 0] == images[0, 0].numpy()).all()
    assert (inside[9::10, 9::10] == inside[::10, ::10]).all()
    assert (page[:MARGIN] == PAPER).all()


@pytest.mark.parametrize(("size", "factor"), [(28, 3), (32, 2), (256, 1)])
def test_factor_is_whole(size, factor):
    page = grid(plain(1, size=size, channels=3), size=80)
    assert page.size == (size * factor + 2 * MARGIN,) * 2


def test_without_labels_nearly_square():
    assert grid(plain(7), size=8).size == (3 * 8 + 2 * GAP + 2 * MARGIN,) * 2


def test_colours_are_kept():
    images = torch.tensor([10, 20, 30], dtype=torch.uint8).view(1, 3, 1, 1).expand(1, 3, 8, 8)
    assert grid(images, size=8).getpixel((MARGIN, MARGIN)) == (10, 20, 30)


def test_each_label_has_rows_and_a_head():
    labels = ["boot"] * 3 + ["bag"] * 12 + ["shirt"]
    page = np.asarray(grid(plain(16), labels, columns=10, size=40))
    rows = 1 + 2 + 1
    assert page.shape[0] == rows * 40 + (rows - 1) * GAP + 2 * MARGIN
    left = page.shape[1] - MARGIN - 10 * 40 - 9 * GAP
    assert left > MARGIN + 20
    for r, headed in enumerate((True, True, False, True)):
        strip = page[MARGIN + r * (40 + GAP) : MARGIN + r * (40 + GAP) + 40, :left]
        assert (strip != 255).any() == headed


def test_long_title_is_broken_into_lines_not_cut():
    words = " ".join(["step 1200, 25 calls, fid_digits64 2.371, accuracy_svm 0.978"] * 3)
    short, long = grid(plain(4), size=80, title="step 1"), grid(plain(4), size=80, title=words)
    assert long.width == short.width and long.height > short.height + 5 * 14
    right = np.asarray(long)[:, -MARGIN:]
    assert (right == 255).all()


def test_save_is_whole_and_makes_its_folder(tmp_path):
    path = tmp_path / "a" / "b.png"
    save(grid(plain(4)), path)
    assert path.read_bytes().startswith(b"\x89PNG") and list(path.parent.iterdir()) == [path]


def test_no_images_are_refused():
    with pytest.raises(ConfigError, match="no images"):
        grid(plain(0))
