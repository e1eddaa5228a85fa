"""The doctor's measures, each against what is known of its input."""

import json
import math

import pytest
import torch
from patients import DATA, SCHEDULE, gaussian, ideal, patient

from diffexp.diffusion import V, linear
from diffexp.doctor.examinations.following import related
from diffexp.doctor.examinations.learning import coverage
from diffexp.doctor.finding import MOST, strength
from diffexp.doctor.history import history, of
from diffexp.doctor.levels import LEVELS, Linear, condition, errors, label_of, ratios, shown, z_of
from diffexp.doctor.signs import signs_of
from diffexp.doctor.thumbnails import Thumbnails


def test_a_strength_is_a_ratio_that_ends_at_five_and_is_below_one_by_chance():
    assert strength(0.3, 0.2) == pytest.approx(1.5) and strength(9, 1) == MOST and strength(-1, 1) == 0
    assert strength(9, 1, separated=False) == 0.99 and strength(math.nan, 1) == 0


def test_signs_of_patterns_that_are_known():
    board = torch.zeros(1, 1, 8, 8, dtype=torch.uint8)
    board[..., ::2, ::2] = board[..., 1::2, 1::2] = 255
    flat = torch.full((3, 1, 8, 8), 100).byte()
    signs = signs_of(board)
    assert signs.saturated == 1.0 and signs.sharpness == pytest.approx(0.25)  # all variance is at the end
    assert signs_of(flat) == type(signs)(0.0, 0.0, 0.0)
    assert signs_of(torch.cat([board, 255 - board])).spread == pytest.approx(0.25)


def test_thumbnails_are_the_pixels_of_small_images_and_means_of_large_ones():
    images = torch.randint(0, 256, (2, 3, 16, 16), generator=torch.Generator().manual_seed(0)).byte()
    features = Thumbnails(3)(images)
    assert features.shape == (2, 192)
    assert features[0, 0] == pytest.approx(float(images[0, 0, :2, :2].float().mean()) / 255)
    assert torch.equal(Thumbnails(3)(images[..., :8, :8]), images[..., :8, :8].float().flatten(1) / 255)


def test_a_history_says_how_rough_and_whether_it_falls(tmp_path):
    assert of([1.0] * 7, []) is None
    even = of([1.0] * 32, [0.5, 2.0])
    assert even is not None and (even.rough, even.falling, even.clipped) == (0.0, 0.0, 0.5)
    rough = of([1.0, 2.0] * 16, [])
    assert rough is not None and rough.rough == 1.0 and math.isnan(rough.gradient)
    falling = of([1.0] * 24 + [0.5] * 8, [])
    assert falling is not None and falling.falling == 0.5 and "fell by 50%" in falling.words()
    wild = of([0.8] * 20 + [11.2] + [0.8] * 11, [])
    assert wild is not None and round(wild.leap, 6) == 14 and "leapt to 14.0 times" in wild.words()
    lines = [json.dumps({"train/loss": 1.0}) for _ in range(8)] + ["broken", json.dumps({"train/loss": "x"})]
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines))
    assert history(tmp_path) == of([1.0] * 8, []) or "nan" in str(history(tmp_path))
    assert history(None) is None and history(tmp_path / "none") is None


def test_the_linear_denoiser_is_that_of_a_gaussian_in_closed_form():
    draw, std = torch.Generator().manual_seed(0), torch.tensor([1.0, 0.5, 0.1])
    x, noise = (torch.randn(20_000, 3, generator=draw) for _ in range(2))
    linear_, alpha, sigma = Linear.of(x * std), 0.8, 0.6
    want = (std**2 * sigma**2 / (alpha**2 * std**2 + sigma**2)).mean()
    assert linear_.error(x * std, noise, alpha, sigma).mean() == pytest.approx(float(want), rel=0.02)


def test_a_network_errs_as_much_as_its_closed_form():
    """The ideal one has no error where there is little noise; that of a Gaussian has a formula."""
    of_ideal = patient(ideal())
    images = shown(of_ideal, "train")
    found = errors(of_ideal, images)
    assert found.shape == (LEVELS, 60) and found[0].mean() < 1e-6 < found[-1].mean()
    blind = patient(ideal(network=gaussian()))
    x = shown(blind, "train").x0
    r = ratios(SCHEDULE)[-1]
    alpha, sigma = 1 / math.hypot(1, r), r / math.hypot(1, r)
    gain = alpha * 0.75**2 / (alpha**2 * 0.75**2 + sigma**2)
    guess = -0.4 + gain * (alpha * (x + 0.4) + sigma * shown(blind, "train").noise)
    assert errors(blind, images)[-1].mean() == pytest.approx(float((guess - x).square().mean()), rel=1e-3)


def test_the_label_of_its_own_schedule_changes_nothing():
    of_ideal = patient(ideal())
    images = shown(of_ideal, "val")
    own = errors(of_ideal, images, label=label_of(of_ideal, SCHEDULE))
    assert torch.allclose(own, errors(of_ideal, images), atol=1e-4)
    other = errors(of_ideal, images, label=label_of(of_ideal, linear()))
    assert other.mean() > 1.2 * own.mean()


def test_others_are_told_something_else():
    of_ideal = patient(ideal())
    asked = shown(of_ideal, "val").asked
    own, others, nothing = (condition(of_ideal.model, asked, told) for told in ("own", "others", "nothing"))
    assert own is not None and others is not None and nothing is not None
    assert (own.label != others.label).all() and (nothing.label == 10).all()


def test_times_are_counted_by_level():
    config = {"times": {"_target_": "diffexp.diffusion.Chain"}}
    share = coverage(patient(config=config))
    assert share is not None and share.sum() == pytest.approx(1) and share.min() > 0.02
    assert coverage(patient(config={})) is None
    strange = {"times": {"_target_": "torch.optim.SGD", "params": []}}
    assert coverage(patient(config=strange)) is None


def test_images_of_one_class_are_alike_and_of_classes_dealt_anew_not():
    class Dealt(type(DATA)):
        def read(self):
            splits = super().read()
            order = torch.randperm(1437, generator=torch.Generator().manual_seed(3))
            return splits._replace(train=type(splits.train)(splits.train.images, splits.train.labels[order]))

    assert related(DATA, Thumbnails(1)) > 50
    assert abs(related(Dealt(), Thumbnails(1))) < 5


def test_a_z_is_the_mean_over_its_error():
    values = torch.tensor([1.0, 2.0, 3.0])
    assert (
        z_of(values) == pytest.approx(2 * 3**0.5)
        and z_of(values[:1]) == 0
        and z_of(torch.ones(3)) == math.inf
    )
    assert V() is not None
