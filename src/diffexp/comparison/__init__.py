"""Comparisons of what was measured, and of what people prefer: differences with intervals, from shared noise
and paired seeds, and the statistics of votes.
"""

from diffexp.comparison.agreement import alpha
from diffexp.comparison.difference import Difference, of_evaluations
from diffexp.comparison.evidence import Evidence
from diffexp.comparison.holm import holm
from diffexp.comparison.seeds import of_seeds
from diffexp.comparison.votes import Answers, Estimate, bradley_terry, win_rate

__all__ = [
    "Answers",
    "Difference",
    "Estimate",
    "Evidence",
    "alpha",
    "bradley_terry",
    "holm",
    "of_evaluations",
    "of_seeds",
    "win_rate",
]
