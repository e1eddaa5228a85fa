"""The metrics by which a patient is examined: FID in the run's features, and its judges."""

from typing import Any

from diffexp.config.build import build
from diffexp.data import DataSet
from diffexp.doctor.thumbnails import Thumbnails
from diffexp.errors import ConfigError, DataError
from diffexp.metrics import (
    FID,
    ClassifierAccuracy,
    CLIPScore,
    ColouredDigits,
    Extractor,
    Metric,
    MetricSet,
    SVMAccuracy,
)
from diffexp.notice import warn

JUDGES = (SVMAccuracy, ClassifierAccuracy, ColouredDigits, CLIPScore)
"""Metrics that say whether an image shows what was asked for."""


def metrics_for(node: Any, data: DataSet, n: int, allowed: tuple[str, ...]) -> MetricSet:
    """Return FID of n images, and the judges of the run's metrics; where its extractor is missing or none,
    in the features of small pictures. Raises DiffexpError.
    """
    built: MetricSet = build(node, "metrics", allowed)
    extractor = _fitting(built.extractor, data)
    judges = [
        metric for metric in built.metrics if isinstance(metric, JUDGES) and _fits(metric, data, extractor)
    ]
    return MetricSet(n, extractor, [FID(), *judges])


def _fitting(extractor: Extractor | None, data: DataSet) -> Extractor:
    if extractor is not None:
        try:
            extractor.check(data.shape)
            return extractor
        except (ConfigError, DataError) as error:
            warn(f"FID is taken in features of small pictures: {error.what}")
    return Thumbnails(data.shape[0])


def _fits(metric: Metric, data: DataSet, extractor: Extractor) -> bool:
    try:
        metric.check(data, extractor)
    except (ConfigError, DataError):
        return False
    return True
