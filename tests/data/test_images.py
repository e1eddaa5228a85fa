"""Every kind of picture becomes the pixels that a person would expect."""

import numpy as np
import pytest
import torch
from PIL import Image

from diffexp.data.fitted import Fit
from diffexp.data.images import convert, picture, shown_sides, sides
from diffexp.errors import DataError

LIMIT = 10_000


def load_image(path, size, mode, most):
    return Fit(mode, most)(path, sides(size)).image


def pixel(image, mode="RGB"):
    return convert(image, mode).getpixel((0, 0))


def saved(tmp_path, image, name="a.png", **options):
    image.save(tmp_path / name, **options)
    return tmp_path / name


@pytest.mark.parametrize(
    ("mode", "color", "rgb"),
    [
        ("1", 1, (255, 255, 255)),
        ("L", 77, (77, 77, 77)),
        ("LA", (100, 255), (100, 100, 100)),
        ("LA", (0, 0), (255, 255, 255)),
        ("RGBA", (10, 20, 30, 255), (10, 20, 30)),
        ("RGBA", (10, 20, 30, 0), (255, 255, 255)),
        ("RGBA", (0, 0, 0, 51), (204, 204, 204)),
        ("CMYK", (0, 255, 255, 0), (255, 0, 0)),
        ("CMYK", (0, 0, 0, 255), (0, 0, 0)),
        ("I", 65535, (255, 255, 255)),
        ("I", 257 * 40, (40, 40, 40)),
        ("YCbCr", (128, 128, 128), (128, 128, 128)),
    ],
)
def test_a_colour_of_every_mode(mode, color, rgb):
    assert pixel(Image.new(mode, (2, 2), color)) == rgb


def test_grey_of_a_colour_is_its_luma():
    assert pixel(Image.new("RGB", (2, 2), (255, 0, 0)), "L") == round(0.299 * 255)
    assert pixel(Image.new("RGBA", (2, 2), (0, 0, 0, 0)), "L") == 255


def test_sixteen_bits_from_a_file_round_to_the_nearest(tmp_path):
    ramp = np.arange(0, 65536, 16, dtype=np.uint16).reshape(64, 64)
    for name in ("a.png", "a.tif"):
        path = saved(tmp_path, Image.fromarray(ramp), name)
        ours = load_image(path, 64, "L", LIMIT)[0].numpy()
        assert np.array_equal(ours, np.rint(ramp / 257).astype(np.uint8))


def test_a_palette_with_transparency_lies_over_white(tmp_path):
    image = Image.new("P", (2, 1))
    image.putpalette([200, 10, 10, 0, 0, 255])
    image.putpixel((1, 0), 1)
    plain = load_image(saved(tmp_path, image.resize((4, 4), 0), "p.png"), 4, "RGB", LIMIT)
    assert plain[:, 0, 0].tolist() == [200, 10, 10] and plain[:, 0, 3].tolist() == [0, 0, 255]
    clear = load_image(saved(tmp_path, image.resize((4, 4), 0), "t.gif", transparency=1), 4, "RGB", LIMIT)
    assert clear[:, 0, 0].tolist() == [200, 10, 10] and clear[:, 0, 3].tolist() == [255, 255, 255]


def test_a_colour_marked_as_transparent_is_white(tmp_path):
    path = saved(tmp_path, Image.new("RGB", (4, 4), (1, 2, 3)), transparency=(1, 2, 3))
    assert load_image(path, 4, "RGB", LIMIT).unique().tolist() == [255]


def test_a_cmyk_jpeg(tmp_path):
    path = saved(tmp_path, Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "a.jpg", quality=95)
    got = load_image(path, 16, "RGB", LIMIT)[:, 8, 8].tolist()
    assert got[0] > 245 and got[1] < 10 and got[2] < 10


def test_the_camera_orientation_is_applied(tmp_path):
    image = Image.new("RGB", (4, 4), "black")
    image.paste((255, 255, 255), (0, 0, 4, 2))  # the upper half
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise: the upper half goes right
    got = load_image(saved(tmp_path, image, "a.png", exif=exif), 4, "L", LIMIT)[0]
    assert got[:, 2:].unique().tolist() == [255] and got[:, :2].unique().tolist() == [0]


def test_an_image_of_the_right_size_keeps_its_pixels(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    got = load_image(saved(tmp_path, Image.fromarray(noise)), 9, "RGB", LIMIT)
    assert got.shape == (3, 9, 9) and got.is_contiguous()
    assert np.array_equal(got.permute(1, 2, 0).numpy(), noise)


@pytest.mark.parametrize(("width", "height"), [(40, 20), (20, 40)])
def test_the_short_side_is_scaled_and_the_centre_kept(width, height, tmp_path):
    """A red square in the centre, as large as the short side, fills the result but for the kernel's reach."""
    image = Image.new("RGB", (width, height), "blue")
    image.paste((255, 0, 0), ((width - 20) // 2, (height - 20) // 2, (width + 20) // 2, (height + 20) // 2))
    for size, reach in ((10, 2), (20, 0), (33, 4)):
        got = load_image(saved(tmp_path, image), size, "RGB", LIMIT)
        assert got.shape == (3, size, size)
        inner = got[:, reach : size - reach, reach : size - reach]
        assert inner[0].unique().tolist() == [255] and inner[2].unique().tolist() == [0]
        assert (got[0] > got[2]).all()


@pytest.mark.parametrize(("width", "height"), [(24, 12), (60, 10), (10, 31)])
def test_the_largest_part_of_that_shape_is_kept(width, height, tmp_path):
    """A red rectangle of 1:2 in the centre, as large as the picture holds, fills the result."""
    high = min(height, width // 2)
    image = Image.new("RGB", (width, height), "blue")
    left, top = (width - 2 * high) // 2, (height - high) // 2
    image.paste((255, 0, 0), (left, top, left + 2 * high, top + high))
    for size, reach in (((12, 24), 4), ((5, 10), 2), ((20, 40), 8)):
        got = load_image(saved(tmp_path, image), size, "RGB", LIMIT)
        assert got.shape == (3, *size) and (got[0] > got[2]).all()
        inner = got[0, reach : size[0] - reach, reach : size[1] - reach]
        assert inner.unique().tolist() == [255]


def test_pixels_of_a_picture_of_the_right_height_and_width_are_kept(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (9, 14, 3), dtype=np.uint8)
    path = saved(tmp_path, Image.fromarray(noise))
    assert np.array_equal(load_image(path, (9, 14), "RGB", LIMIT).permute(1, 2, 0).numpy(), noise)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_as_large_as_it_is_shown(orientation, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = orientation
    noise = np.random.default_rng(0).integers(0, 256, (9, 14), dtype=np.uint8)
    path = saved(tmp_path, Image.fromarray(noise), "a.png", exif=exif)
    with picture(path) as image:
        size = shown_sides(image)
    assert size == ((9, 14) if orientation < 5 else (14, 9))
    kept = load_image(path, size, "L", LIMIT)[0].numpy()
    assert sorted(kept.flatten()) == sorted(noise.flatten())  # turned, not scaled


def test_scaling_down_is_antialiased(tmp_path):
    """A checkerboard of single pixels becomes grey, not a moiré of black and white."""
    board = (np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)
    got = load_image(saved(tmp_path, Image.fromarray(board)), 8, "L", LIMIT)
    assert (got.long() - 127).abs().max() <= 2


def test_scaling_keeps_the_mean_of_a_ramp(tmp_path):
    ramp = np.tile(np.arange(0, 256, 4, dtype=np.uint8), (64, 1))
    got = load_image(saved(tmp_path, Image.fromarray(ramp)), 16, "L", LIMIT)[0, 8].double()
    assert (got[2:-2] - (torch.arange(16)[2:-2] * 16 + 6)).abs().max() <= 1


def test_too_many_pixels_are_refused_before_they_are_unpacked(tmp_path, monkeypatch):
    path = saved(tmp_path, Image.new("L", (200, 100)), "bomb.png")
    with pytest.raises(DataError, match="200 x 100 pixels") as error:
        load_image(path, 8, "L", LIMIT)
    assert error.value.where == str(path)
    for limit in (15_000, 5_000):  # Pillow warns at the one, raises at the other
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        with pytest.raises(DataError, match="pixels") as error:
            load_image(path, 8, "L", LIMIT)
        assert error.value.where == str(path)


def test_what_is_no_image_is_an_error_that_names_the_file(tmp_path):
    whole = saved(tmp_path, Image.effect_noise((64, 64), 50), "whole.png").read_bytes()
    cases = {"text.png": b"hello", "empty.jpg": b"", "cut.png": whole[: len(whole) // 2]}
    for name, content in cases.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError) as error:
            load_image(tmp_path / name, 8, "RGB", LIMIT)
        assert error.value.where.endswith(name) and "\n" not in error.value.what
        assert error.value.do


def test_floating_point_pixels_are_refused(tmp_path):
    path = saved(tmp_path, Image.new("F", (4, 4), 0.5), "a.tif")
    with pytest.raises(DataError, match="floating-point pixels"):
        load_image(path, 4, "L", LIMIT)
