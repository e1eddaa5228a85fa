"""Comparisons of what was measured: differences with intervals, from shared noise and paired seeds."""

from diffexp.comparison.difference import Difference, of_evaluations
from diffexp.comparison.evidence import Evidence
from diffexp.comparison.holm import holm
from diffexp.comparison.seeds import of_seeds

__all__ = ["Difference", "Evidence", "holm", "of_evaluations", "of_seeds"]
