"""Win rates, Bradley–Terry scores, marks and agreement, against closed forms and published examples."""

import numpy as np
import pytest

from diffexp.comparison.agreement import alpha, same
from diffexp.comparison.votes import (
    Answers,
    bradley_terry,
    marks,
    smoothed,
    strengths,
    table_of,
    weights,
    wilson,
    win_rate,
)

nan = float("nan")


def answers(score, voter=None, unit=None, first=0, second=1):
    score = np.asarray(score, float)
    n, row = len(score), np.arange(len(score))
    wide = lambda v: np.broadcast_to(np.asarray(v), n).astype(np.int64)  # noqa: E731
    voter, unit = (0 if voter is None else voter), (row if unit is None else unit)
    return Answers(wide(voter), wide(unit), wide(first), wide(second), score)


def test_the_interval_of_wilson_is_where_the_score_test_turns():
    """Its ends are the p0 at which |p − p0| is 1.96 standard errors of p0."""
    for wins, n in ((0, 10), (7, 10), (19, 40), (40, 40)):
        for end in wilson(wins, n):
            assert abs(wins / n - end) == pytest.approx(1.959964 * (end * (1 - end) / n) ** 0.5, abs=1e-7)
    assert wilson(0, 10) == (0.0, pytest.approx(0.27753, abs=1e-5))


def test_which_interval_a_win_rate_has():
    alone = win_rate(answers([1, 1, 0, 1]))
    assert (alone.value, alone.by) == (0.75, "Wilson") and alone.interval == wilson(3, 4)
    ties = win_rate(answers([1, 0.5, 0, 1]))
    assert (ties.value, ties.by) == (0.625, "bootstrap, pairs")
    units = np.tile(np.arange(8), 2)
    several = win_rate(answers([1, 1, 0, 1, 1, 0, 1, 1] * 2, np.repeat([0, 1], 8), units))
    assert several.by == "bootstrap, voters and pairs" and several.count == 16
    always = win_rate(answers([1] * 16, np.repeat([0, 1], 8), units))
    assert (always.by, always.interval) == ("Wilson, of the pairs", wilson(8, 8))


def test_the_bootstrap_of_pairs_has_the_standard_error_of_a_mean():
    score = np.random.default_rng(0).choice([0, 0.5, 1], 400, p=[0.3, 0.2, 0.5])
    low, high = win_rate(answers(score)).interval
    error = score.std() / 20
    assert high - low == pytest.approx(2 * 1.96 * error, rel=0.08)
    assert (low + high) / 2 == pytest.approx(score.mean(), abs=0.1 * error)


def test_a_draw_weighs_an_answer_by_its_voter_and_its_unit():
    """100 voters with one opinion each on one pair are 100; one voter's 100 answers to 2 units are 2."""
    voters = answers(np.zeros(4), voter=[0, 0, 1, 1], unit=[0, 1, 0, 1])
    drawn = np.concatenate(list(weights(voters, times=5000)))
    assert set(np.unique(drawn)) == {0, 1, 2, 4} and (drawn.sum(1) == 4).all()
    assert drawn.mean(0) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("spread", [0.0, 1.0])
def test_intervals_hold_what_they_say(spread):
    """6 voters, 40 pairs, with effects of both: the share of 95 % intervals that hold the truth."""
    random, held = np.random.default_rng(1), 0
    voter, unit = (a.ravel() for a in np.mgrid[:6, :40])
    for trial in range(120):
        odds = 0.6 + spread * (random.normal(size=6)[voter] / 2 + random.normal(size=40)[unit])
        score = (random.random(240) < 1 / (1 + np.exp(-odds))).astype(float)
        low, high = win_rate(answers(score, voter, unit), trial).interval
        nodes, by = np.polynomial.hermite_e.hermegauss(40)
        truth = (by / by.sum()) @ (1 / (1 + np.exp(-0.6 - spread * 1.25**0.5 * nodes)))
        held += low <= truth <= high
    assert 0.91 <= held / 120 <= 1


def test_two_runs_have_the_scores_of_their_odds():
    scores = bradley_terry(np.array([[0, 30], [12, 0]]))
    assert scores == pytest.approx([0.5 * np.log(2.5), -0.5 * np.log(2.5)], abs=1e-9)


def test_the_scores_of_several_runs_make_the_wins_likely():
    """At the maximum each run wins as often as it should: the sum over its pairs of the probabilities."""
    random = np.random.default_rng(0)
    wins = random.integers(1, 30, (3, 5, 5)).astype(float) * (1 - np.eye(5))
    scores = bradley_terry(wins)
    should = (wins + wins.swapaxes(1, 2)) / (1 + np.exp(scores[:, None, :] - scores[:, :, None]))
    assert should.sum(2) == pytest.approx(wins.sum(2), rel=1e-7)
    assert scores.sum(1) == pytest.approx(0, abs=1e-9)
    true = np.array([-1.0, 0.2, 0.8])
    exact = 100 / (1 + np.exp(true[None] - true[:, None])) * (1 - np.eye(3))
    assert bradley_terry(exact) == pytest.approx(true, abs=1e-7)


def test_a_run_that_always_wins_has_a_finite_score_and_one_apart_has_none():
    wins = np.array([[0, 9, 9], [0, 0, 5], [0, 4, 0]], float)
    scores = bradley_terry(smoothed(wins))
    assert np.isfinite(scores).all() and scores.argmax() == 0
    apart = np.zeros((3, 3))
    apart[0, 1] = apart[1, 0] = 4
    assert np.isnan(bradley_terry(smoothed(apart))).all()


def test_scores_of_answers_are_those_of_their_table():
    random = np.random.default_rng(2)
    first, second = np.array([(i, j) for i in range(3) for j in range(3) if i < j] * 20).T
    score = random.choice([0, 0.5, 1], 60)
    of = answers(score, np.arange(60) % 4, np.arange(60) // 4, first, second)
    wins = table_of(of, 3).sum(0).reshape(3, 3)
    assert wins[0, 1] == score[(first == 0) & (second == 1)].sum()
    assert (wins + wins.T)[0, 2] == 20
    found = strengths(of, 3)
    assert [e.value for e in found] == pytest.approx(bradley_terry(smoothed(wins)), abs=1e-9)
    assert all(e.interval[0] < e.value < e.interval[1] and e.count == 40 for e in found)
    turned = answers(1 - score, of.voter, of.unit, second, first)
    assert [e.value for e in strengths(turned, 3)] == pytest.approx([e.value for e in found], abs=1e-9)
    assert turned.between(1, 0).score == pytest.approx(1 - of.between(0, 1).score)


def test_marks_of_the_same_images_are_compared_image_by_image():
    """What a picture's subject adds to every mark is no error of the difference."""
    random = np.random.default_rng(0)
    subject = random.normal(size=60)
    score = np.stack([3 + subject, 3.5 + subject + random.normal(size=60) / 10], 1).ravel()
    runs = np.tile([0, 1], 60)
    of = answers(score, 0, np.repeat(np.arange(60), 2), runs, runs)
    found = marks(of, 2)
    assert found[0][0].value == pytest.approx(score[::2].mean())
    assert found[1][0].value == pytest.approx(0.5, abs=0.05)
    width = lambda e: e.interval[1] - e.interval[0]  # noqa: E731
    assert width(found[0][0]) == pytest.approx(2 * 1.96 * subject.std() / 60**0.5, rel=0.12)
    assert width(found[1][0]) < width(found[0][0]) / 6


KRIPPENDORFF = np.array(  # four observers, twelve units, of Krippendorff 2011, C
    [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, nan, nan, nan],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, nan, 3],
        [nan, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, nan],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, nan],
    ]
)


@pytest.mark.parametrize(("scale", "value"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)])
def test_alpha_is_that_of_the_published_example(scale, value):
    assert alpha(KRIPPENDORFF, scale) == pytest.approx(value, abs=5e-4)


def test_alpha_of_agreement_of_chance_and_of_nothing():
    assert alpha(np.tile([0, 1, 0.5, 1], (3, 1))) == 1
    chance = np.random.default_rng(0).integers(0, 3, (4, 3000)).astype(float)
    assert alpha(chance) == pytest.approx(0, abs=0.02)
    assert np.isnan(alpha(np.array([[1.0, nan], [nan, 0.0]]))) and np.isnan(alpha(np.ones((3, 4))))
    assert same(np.array([[1, 0, 1], [1, 1, nan], [1, 0, nan]])) == pytest.approx((6 + 2) / 12)
    assert np.isnan(same(np.array([[1.0, nan]])))
