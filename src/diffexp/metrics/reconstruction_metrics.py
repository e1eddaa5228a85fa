"""Which metrics of a MetricSet measure reconstructions: the configured ones, if they are for such images."""

from diffexp.data.dataset import DataSet
from diffexp.errors import ConfigError
from diffexp.hub import is_file
from diffexp.metrics.auto import FEW, WhatCanBeMeasured
from diffexp.metrics.classifier import SHIPPED, SmallClassifier
from diffexp.metrics.fid import FID
from diffexp.metrics.metric_set import MetricSet
from diffexp.notice import chosen


def metrics_for(metrics: MetricSet, data: DataSet, typed: bool) -> MetricSet:
    """Return metrics of as many test images as there are, at most those of the configuration.

    typed: the person has asked for them, and what they refuse is an error; where a recipe has others for
    other images, FID by the classifier that is shipped for these, or what can be measured of any images.
    Raises ConfigError, DataError.
    """
    count = len(data.split("test"))
    if not metrics.metrics and not isinstance(metrics, WhatCanBeMeasured):
        return metrics
    if count < FEW:
        chosen(f"no metric by features: {count} test images are too few")
        return MetricSet(0)
    try:
        metrics.check(data)
    except ConfigError:
        if typed:
            raise
        metrics = _of_these(data, metrics.n)
        metrics.check(data)
    metrics.n = min(metrics.n, count)
    return metrics


def _of_these(data: DataSet, n: int) -> MetricSet:
    if is_file(SHIPPED / f"{data.name}.safetensors"):
        extractor = SmallClassifier(data.name)
        if extractor.shape == data.shape:
            chosen(f"FID of reconstructions by the classifier of {data.name} (metrics={data.name})")
            return MetricSet(n, extractor, [FID()])
    return WhatCanBeMeasured()
