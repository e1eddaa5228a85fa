"""Metrics of generated images: feature extractors, FID and its floor, judges of class-conditional samples."""

from diffexp.metrics.accuracy import ClassifierAccuracy
from diffexp.metrics.auto import WhatCanBeMeasured
from diffexp.metrics.classifier import SmallClassifier
from diffexp.metrics.clip_loss import CLIPLoss
from diffexp.metrics.clip_metrics import CMMD, CLIPScore
from diffexp.metrics.coloured_digits import ColouredDigits
from diffexp.metrics.copies import Copies
from diffexp.metrics.evaluator import Evaluation, Evaluator
from diffexp.metrics.extractor import Extractor, extract
from diffexp.metrics.feature_distance import FeatureDistance
from diffexp.metrics.fid import FID
from diffexp.metrics.fid_infinity import FIDInfinity
from diffexp.metrics.inception import Inception
from diffexp.metrics.inception_score import InceptionScore
from diffexp.metrics.kid import KID
from diffexp.metrics.lpips import LPIPS
from diffexp.metrics.metric import Card, Metric
from diffexp.metrics.metric_set import MetricSet
from diffexp.metrics.precision_recall import Manifold
from diffexp.metrics.pretrained import CLIPEmbedding, Dinov2
from diffexp.metrics.similarity import InstanceSimilarity
from diffexp.metrics.statistics import Statistics, frechet_distance
from diffexp.metrics.svm import SVMAccuracy

__all__ = [
    "CMMD",
    "FID",
    "KID",
    "LPIPS",
    "CLIPEmbedding",
    "CLIPLoss",
    "CLIPScore",
    "Card",
    "ClassifierAccuracy",
    "ColouredDigits",
    "Copies",
    "Dinov2",
    "Evaluation",
    "Evaluator",
    "Extractor",
    "FIDInfinity",
    "FeatureDistance",
    "Inception",
    "InceptionScore",
    "InstanceSimilarity",
    "Manifold",
    "Metric",
    "MetricSet",
    "SVMAccuracy",
    "SmallClassifier",
    "Statistics",
    "WhatCanBeMeasured",
    "extract",
    "frechet_distance",
]
