"""What people prefer: shares with intervals, Bradley–Terry scores, means of marks.

    P(i is preferred to j) = 1 / (1 + exp(s_j − s_i)),    a tie counts as half for each

Answers of one voter, and answers about one image, go together, so voters and units (the numbers of the
images) are drawn anew in the bootstrap, each by itself: an answer weighs how often its voter was drawn, times
how often its unit was (Owen 2007, the pigeonhole bootstrap).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

LEVEL, TIMES = 0.95, 2000
_AT_ONCE = 1 << 22  # weights


@dataclass(frozen=True)
class Estimate:
    """value; interval: its ends, None where nothing can be said; by: how the interval was made; count: of the
    answers.
    """

    value: float
    interval: tuple[float, float] | None
    by: str
    count: int


@dataclass(frozen=True)
class Answers:
    """Row n: `voter` has compared the images numbered `unit` of the runs `first` and `second`, int64 (N,).
    score: what the first has got, float64: 1, 0.5 for a tie, or 0; for single images second is first, and
    the score is the mark.
    """

    voter: np.ndarray
    unit: np.ndarray
    first: np.ndarray
    second: np.ndarray
    score: np.ndarray

    def __len__(self) -> int:
        return len(self.score)

    def of(self, rows: np.ndarray) -> "Answers":
        """Return some rows, by numbers or a mask."""
        return Answers(
            self.voter[rows], self.unit[rows], self.first[rows], self.second[rows], self.score[rows]
        )

    def between(self, i: int, j: int) -> "Answers":
        """Return what compares run i with run j, with the scores of i."""
        there = ((self.first == i) & (self.second == j)) | ((self.first == j) & (self.second == i))
        of = self.of(there)
        score = np.where(of.first == i, of.score, 1 - of.score)
        return Answers(of.voter, of.unit, np.full(len(of), i), np.full(len(of), j), score)


def wilson(wins: float, count: int, level: float = LEVEL) -> tuple[float, float]:
    """Return the score interval of a share (Wilson 1927) of `count` answers that do not hang together."""
    from scipy.special import ndtri

    z, p = float(ndtri((1 + level) / 2)), wins / count
    middle = (p + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(p * (1 - p) / count + z * z / (4 * count * count))
    return max(0.0, middle - half), min(1.0, middle + half)


def win_rate(answers: Answers, seed: int = 0) -> Estimate:
    """Return how often the first run is preferred, a tie as half.

    By Wilson of the answers where one voter has given them, without ties; by Wilson of the units where all
    are the same, for then no draw differs; else by the bootstrap.
    """
    value, units = float(answers.score.mean()), len(np.unique(answers.unit))
    voters = len(np.unique(answers.voter))
    if voters == 1 and not (answers.score == 0.5).any() and units == len(answers):
        return Estimate(value, wilson(answers.score.sum(), units), "Wilson", len(answers))
    if np.ptp(answers.score) == 0:
        return Estimate(value, wilson(value * units, units), "Wilson, of the pairs", len(answers))
    drawn = [w @ answers.score / w.sum(1) for w in weights(answers, seed)]
    by = "bootstrap, voters and pairs" if voters > 1 else "bootstrap, pairs"
    return Estimate(value, _ends(np.concatenate(drawn)), by, len(answers))


def weights(answers: Answers, seed: int = 0, times: int = TIMES) -> Iterator[np.ndarray]:
    """Yield the weights of the answers in each draw, float64 (draws, N), in which some answer weighs."""
    random = np.random.default_rng(seed)
    voters, voter = np.unique(answers.voter, return_inverse=True)
    units, unit = np.unique(answers.unit, return_inverse=True)
    step = max(1, _AT_ONCE // max(1, len(answers)))
    for begin in range(0, times, step):
        n = min(step, times - begin)
        drawn = [random.multinomial(len(of), [1 / len(of)] * len(of), n) for of in (voters, units)]
        out = (drawn[0][:, voter] * drawn[1][:, unit]).astype(np.float64)
        yield out[out.sum(1) > 0]


def _ends(drawn: np.ndarray) -> tuple[float, float] | None:
    drawn = drawn[np.isfinite(drawn)]
    if not len(drawn) or np.ptp(drawn) < 1e-9:  # no draw differs, and of chance nothing can be said
        return None
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def bradley_terry(wins: np.ndarray, tolerance: float = 1e-10, most: int = 10_000) -> np.ndarray:
    """Return the scores of k runs that are most likely, (..., k), of mean 0, by Hunter's (2004) iteration.

    wins: (..., k, k), how often i was preferred to j. There is no maximum where some runs were never
    preferred to the rest (Ford 1957), or never compared with it; then they are not finite, or still grow
    after `most` steps. See `smoothed`.
    """
    wins = np.asarray(wins, dtype=np.float64)
    pairs, won = wins + wins.swapaxes(-1, -2), wins.sum(-1)
    p = np.ones_like(won)
    for _ in range(most):
        # a run that was never compared has no pairs: 0 / 0
        with np.errstate(invalid="ignore", divide="ignore"):
            new = won / (pairs / (p[..., :, None] + p[..., None, :])).sum(-1)
            new = new / np.exp(np.log(new).mean(-1, keepdims=True))
            moved = np.abs(np.log(new) - np.log(p))
        p = new
        if not (moved > tolerance).any():
            break
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.log(p)


def smoothed(wins: np.ndarray) -> np.ndarray:
    """Return the same with a tie more between those that were compared: then all scores are finite."""
    return wins + 0.5 * (wins + wins.swapaxes(-1, -2) > 0)


def table_of(answers: Answers, runs: int) -> np.ndarray:
    """Return what each answer adds to the wins, float64 (N, runs * runs), of i over j at i * runs + j."""
    table, rows = np.zeros((len(answers), runs * runs)), np.arange(len(answers))
    table[rows, answers.first * runs + answers.second] = answers.score
    table[rows, answers.second * runs + answers.first] = 1 - answers.score
    return table


def strengths(answers: Answers, runs: int, seed: int = 0) -> list[Estimate]:
    """Return the Bradley–Terry score of each run, `smoothed`, with its bootstrap interval: in units of log
    odds, of mean 0. NaN where some were compared with no others.
    """
    table = table_of(answers, runs)
    value = bradley_terry(smoothed(table.sum(0).reshape(runs, runs)))
    drawn = [
        bradley_terry(smoothed((w @ table).reshape(-1, runs, runs)), 1e-6) for w in weights(answers, seed)
    ]
    each = np.concatenate(drawn)
    each = each[np.isfinite(each).all(1)]
    counts = [int(((answers.first == i) | (answers.second == i)).sum()) for i in range(runs)]
    return [Estimate(float(value[i]), _ends(each[:, i]), "bootstrap", counts[i]) for i in range(runs)]


def marks(answers: Answers, runs: int, seed: int = 0) -> list[list[Estimate]]:
    """Return the mean mark of each run, and how much more it is than that of each other: [i][j], i itself on
    the diagonal. Draws are those of all, so that what a voter or a unit does to both falls out.
    """
    of = np.zeros((len(answers), runs))
    of[np.arange(len(answers)), answers.first] = 1
    marked = of * answers.score[:, None]
    with np.errstate(invalid="ignore"):
        mean = marked.sum(0) / of.sum(0)
        each = np.concatenate([(w @ marked) / (w @ of) for w in weights(answers, seed)])
    counts, varies = of.sum(0).astype(int), np.ptp(answers.score) > 0
    out = list[list[Estimate]]()
    for i in range(runs):
        row = [
            Estimate(
                float(mean[i] - (mean[j] if j != i else 0)),
                _ends(each[:, i] - (each[:, j] if j != i else 0)) if varies else None,
                "bootstrap",
                int(counts[i]),
            )
            for j in range(runs)
        ]
        out.append(row)
    return out
