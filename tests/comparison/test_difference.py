"""Differences: their intervals hold what they promise, pairing is noticed, Holm and signs by hand."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats

from diffexp.comparison import Difference, Evidence, holm, of_evaluations, of_seeds
from diffexp.comparison.difference import Number
from diffexp.comparison.seeds import sign_flips
from diffexp.data import Batch
from diffexp.metrics import FID, Statistics

PAIRING = {"noise": {"seed": 0, "shape": [1, 8, 8]}, "asked": "ab", "n": 100}


def number(value, each=None, error=0.1, n=100, without=None, **pairing):
    kinds = {"x/each": each, "x/without": without}
    arrays = {name: np.asarray(v, dtype=float) for name, v in kinds.items() if v is not None}
    return Number("x", value, n, error, Evidence(arrays, PAIRING | pairing))


class Measured:
    """The FID of features by the metric itself, against one reference."""

    def __init__(self, dim, draw):
        self.metric, self.draw, self.dim = FID(cache=None), draw, dim
        self.metric._real = Statistics(dim)
        self.metric._real.update(torch.randn(2000, dim, generator=draw, dtype=torch.float64))

    def noise(self, n):
        return torch.randn(n, self.dim, generator=self.draw, dtype=torch.float64)

    def __call__(self, features):
        metric, n = self.metric, len(features)
        metric._card = {"extractor": "plain", "dim": self.dim, "n": 0}
        metric.reset()
        metric.update(Batch(features, None, None, torch.arange(n)), features)
        (value,) = metric.compute().values()
        arrays = {name: values.numpy() for name, values in metric.evidence().items()}
        error = metric.card()["standard_errors"]["fid_plain"]
        return Number("fid_plain", value, n, error, Evidence(arrays, PAIRING))

    def pair(self, n, shared, wider=1.0):
        """Two sets of one law (times `wider`), whose features correlate by `shared`."""
        x, z = self.noise(n), self.noise(n)
        return self(x + 0.2), self(wider * (shared * x + math.sqrt(1 - shared**2) * z) + 0.2)


def covered(draws, dim, n, shared):
    torch.manual_seed(0)
    measured = Measured(dim, torch.Generator().manual_seed(1))
    differences = [of_evaluations(*measured.pair(n, shared)) for _ in range(draws)]
    assert all(d.paired and d.df == 9 for d in differences)
    return sum(abs(d.value) <= d.half() for d in differences) / draws, differences


def test_intervals_of_a_difference_of_fids_hold_what_they_promise():
    share, differences = covered(120, 3, 300, 0.9)
    assert abs(share - 0.95) < 3 * math.sqrt(0.95 * 0.05 / 120)
    spread = np.std([d.value for d in differences])
    assert np.mean([d.error for d in differences]) == pytest.approx(spread, rel=0.2)


@pytest.mark.slow
@pytest.mark.parametrize("shared", [0.0, 0.9, 0.99])
def test_intervals_hold_in_a_thousand_nulls(shared):
    share, _ = covered(1000, 16, 1000, shared)
    assert abs(share - 0.95) < 0.014


def test_shared_noise_finds_what_fresh_noise_does_not():
    measured = Measured(4, torch.Generator().manual_seed(2))
    a, b = measured.pair(1000, 0.995, wider=1.1)
    paired = of_evaluations(a, b)
    alone = of_evaluations(a, replace(b, evidence=None))
    assert paired.paired and paired.p < 0.01 and not alone.paired and alone.p > 0.1
    assert alone.value == paired.value and alone.error > 3 * paired.error
    assert alone.note == "no evidence was kept"


def test_means_are_compared_image_by_image():
    right, other = np.zeros(100), np.zeros(100)
    right[:90], other[4:90] = 1, 1
    difference = of_evaluations(number(0.9, right), number(0.86, other))
    want = stats.ttest_rel(right, other)
    assert difference.p == pytest.approx(want.pvalue, rel=1e-9)
    assert difference.half() == pytest.approx(0.04 - want.confidence_interval().low, rel=1e-9)
    part = np.where(np.arange(100) < 50, np.nan, right)
    assert of_evaluations(number(0.8, part), number(0.8, part)).p == 1.0


@pytest.mark.parametrize(
    ("change", "note"),
    [
        ({"noise": {"seed": 1, "shape": [1, 8, 8]}}, "other noise"),
        ({"noise": {"seed": 0, "shape": [4, 4, 4]}}, "other noise"),
        ({"asked": "cd"}, "other images, classes or captions"),
        ({"each": np.where(np.arange(100) < 9, np.nan, 1.0)}, "other images were judged"),
        ({"each": None}, "this number is not kept image by image"),
    ],
)
def test_what_is_not_paired_is_said(change, note):
    each = np.ones(100)
    change = {"each": each} | change
    difference = of_evaluations(number(0.9, each), number(0.8, error=0.2, **change))
    assert not difference.paired and difference.note == note
    assert difference.error == pytest.approx(math.sqrt(0.05)) and 99 < difference.df < 198


def test_without_an_error_nothing_can_be_said():
    difference = of_evaluations(number(0.9, error=None), number(0.8))
    assert difference.p is None and difference.half() is None and difference.needed() is None


def test_how_many_would_decide_it():
    """Of normal errors: at four times the images half the error."""
    difference = Difference(0.98, 1.0, count=1000)
    assert difference.needed() == pytest.approx(4000, rel=1e-3)
    assert Difference(1e-6, 1.0, count=1000).needed() is None and Difference(0.0, 1.0).needed() is None
    assert difference.needed(0.01) > difference.needed()


def test_holm_by_hand():
    assert holm([0.01, 0.04, None, 0.03]) == pytest.approx([0.03, 0.06, None, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0] and holm([]) == []


def test_seeds_are_compared_in_pairs():
    a, b = {s: 3.0 + s for s in range(6)}, {s: 2.5 + s + 0.1 * (-1) ** s for s in range(6)}
    difference = of_seeds(a, b)
    want = stats.ttest_rel(list(a.values()), list(b.values()))
    assert difference.paired and difference.count == 6 and difference.unit == "seeds"
    assert difference.p == pytest.approx(want.pvalue, rel=1e-9) and difference.exact == 2 / 64
    fresh = of_seeds(a, {s + 10: v for s, v in b.items()})
    assert not fresh.paired and fresh.note == "no seed in common"
    welch = stats.ttest_ind(list(a.values()), list(b.values()), equal_var=False)
    assert fresh.p == pytest.approx(welch.pvalue, rel=1e-9)


def test_of_fewer_than_three_seeds_nothing_can_be_said():
    for difference in (of_seeds({0: 1.0, 1: 2.0}, {0: 0.0, 1: 0.0}), of_seeds({0: 1.0}, {1: 0.0})):
        assert difference.p is None and "nothing can be said, 3 are needed" in difference.note


def test_the_exact_test_is_that_of_all_signs():
    each = np.array([0.3, -0.1, 0.4, 0.2, 0.6])
    want = stats.permutation_test((each,), np.mean, permutation_type="samples", n_resamples=np.inf)
    assert sign_flips(each) == pytest.approx(want.pvalue)
    assert sign_flips(each[:4]) is None and sign_flips(np.ones(17)) is None
