"""Each option of conf/metrics builds the set it promises, and can be changed from the command line."""

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from diffexp.config.compat import BASE
from diffexp.metrics import FID, Inception, MetricSet, SmallClassifier

CONF = Path(__file__).parents[2] / "conf"


def build(*overrides):
    with initialize_config_dir(str(CONF), **BASE):
        node = compose(overrides=[f"+{overrides[0]}", *overrides[1:]])
    return instantiate(node.metrics)


@pytest.mark.parametrize(
    ("option", "extractor", "metrics"),
    [
        ("digits", "digits64", ["FID", "SVMAccuracy"]),
        ("mnist", "mnist64", ["FID", "ClassifierAccuracy"]),
        ("fashion_mnist", "fashion64", ["FID", "ClassifierAccuracy"]),
        ("inception", "inception2048", ["FID"]),
        (
            "digits_all",
            "digits64",
            ["FID", "SVMAccuracy", "FIDInfinity", "KID", "Manifold", "InceptionScore"],
        ),
        ("inception_all", "inception2048", ["FID", "FIDInfinity", "KID", "Manifold", "InceptionScore"]),
        ("digits_copies", "digits64", ["FID", "SVMAccuracy", "Copies"]),
        ("inception_copies", "inception2048", ["FID", "Copies"]),
        ("inception768", "inception768", ["FID"]),
        ("dinov2", "dinov2-large", ["FID", "KID", "Manifold"]),
        ("clip", "clip-vit-large-patch14-336", ["CMMD", "FID"]),
        ("clip_score", "clip-vit-base-patch16", ["CLIPScore", "CMMD"]),
        ("instance", "inception2048", ["InstanceSimilarity"]),
        ("instance_clip", "clip-vit-base-patch32", ["InstanceSimilarity"]),
        ("instance_dinov2", "dinov2-small", ["InstanceSimilarity"]),
        ("none", None, []),
    ],
)
def test_each_option_builds(option, extractor, metrics):
    built = build(f"metrics={option}")
    assert isinstance(built, MetricSet)
    assert getattr(built.extractor, "name", None) == extractor
    assert [type(metric).__name__ for metric in built.metrics] == metrics
    assert built.n == (0 if option == "none" else 100 if option.startswith("instance") else 1000)


def test_every_file_is_among_them():
    names = {
        "digits_all",
        "dinov2",
        "clip",
        "clip_score",
        "auto",
        "instance",
        "instance_clip",
        "instance_dinov2",
        "digits_text",
        "digits_copies",
        "inception_copies",
        "inception_all",
        "digits",
        "mnist",
        "fashion_mnist",
        "inception",
        "inception768",
        "none",
    }
    assert {file.stem for file in CONF.glob("metrics/*.yaml")} == names


def test_command_line():
    extractor = ("metrics.extractor.weights=/x.pth", "metrics.extractor.feature=192")
    built = build("metrics=inception768", "metrics.n=50", *extractor, "metrics.metrics.0.reference=val")
    assert isinstance(built.extractor, Inception) and isinstance(built.metrics[0], FID)
    assert (built.n, built.extractor.name, built.extractor.weights) == (50, "inception192", "/x.pth")
    assert built.metrics[0].reference == "val"
    assert isinstance(build("metrics=digits", "metrics.extractor.weights=mnist").extractor, SmallClassifier)
