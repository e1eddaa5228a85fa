"""The outcome of a vote: for each run and each pair of runs, with intervals; how far voters agree."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from diffexp.comparison.agreement import alpha, same
from diffexp.comparison.answers import Voter, collected, ratings
from diffexp.comparison.ballot import Ballot
from diffexp.comparison.votes import Answers, Estimate, marks, strengths, win_rate


@dataclass(frozen=True)
class Between:
    """Two runs against each other: how often a was preferred, neither, b; the win rate of a; or how much
    more its mean mark is.
    """

    a: str
    b: str
    estimate: Estimate
    counts: tuple[int, int, int] | None = None


@dataclass(frozen=True)
class Tally:
    """runs: the win rate of each against all others, or its mean mark; scores: of Bradley–Terry, of more than
    two runs. alpha: Krippendorff's, ordinal; same: the share of the pairs of answers to one question that
    agree; left: how often the left image was preferred, a tie as half; NaN where there is none.
    """

    runs: dict[str, Estimate]
    between: tuple[Between, ...]
    scores: dict[str, Estimate]
    answers: int
    alpha: float
    same: float
    left: float


def tally(ballot: Ballot, voters: Sequence[Voter], seed: int = 0) -> Tally:
    """Count the answers of voters. Runs without an answer are left out."""
    answers, names = collected(ballot, voters), ballot.runs
    seen = ratings(answers, len(voters))
    shared = (len(answers), alpha(seen), same(seen))
    there = [i for i in range(len(names)) if ((answers.first == i) | (answers.second == i)).any()]
    if ballot.kind == "mos":
        means = marks(answers, len(names), seed)
        runs = {names[i]: means[i][i] for i in there}
        apart = [Between(names[i], names[j], means[i][j]) for i, j in combinations(there, 2)]
        return Tally(runs, tuple(apart), {}, *shared, float("nan"))
    runs = {names[i]: win_rate(against_all(answers, i), seed) for i in there}
    between = [
        Between(names[i], names[j], win_rate(of, seed), _counts(of))
        for i, j in combinations(there, 2)
        if len(of := answers.between(i, j))
    ]
    scores = strengths(answers, len(names), seed) if len(there) > 2 else []
    known = {n: s for n, s in zip(names, scores, strict=False) if np.isfinite(s.value)}
    return Tally(runs, tuple(between), known, *shared, float(answers.score.mean()))


def against_all(answers: Answers, run: int) -> Answers:
    """Return the answers about a run, with its scores."""
    of = answers.of((answers.first == run) | (answers.second == run))
    turned = of.first != run
    first, second = np.where(turned, of.second, of.first), np.where(turned, of.first, of.second)
    return Answers(of.voter, of.unit, first, second, np.where(turned, 1 - of.score, of.score))


def _counts(answers: Answers) -> tuple[int, int, int]:
    return tuple(int((answers.score == s).sum()) for s in (1.0, 0.5, 0.0))  # type: ignore[return-value]
