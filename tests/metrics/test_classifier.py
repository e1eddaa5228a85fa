"""The shipped classifiers recognise what their docstring says, and their training makes such a file."""

import os
from pathlib import Path

import pytest
import torch

from diffexp.data import MNIST, Digits, FashionMNIST
from diffexp.errors import ConfigError, DataError
from diffexp.metrics import SmallClassifier
from diffexp.metrics.classifier import SHIPPED
from diffexp.metrics.classifier import __doc__ as said
from diffexp.metrics.train_classifier import accuracy, train


def share(text, name):
    """What the docstring says of a data set, in percent."""
    words = text.split()
    return float(words[words.index(name, words.index("recognise:")) + 1])


@pytest.mark.parametrize("data", [Digits, MNIST, FashionMNIST])
def test_the_accuracy_on_unseen_images_is_the_one_stated(data):
    folder = os.environ.get("DIFFEXP_DATA")
    if data is not Digits and (folder is None or not Path(folder, data.source).is_dir()):
        pytest.skip("DIFFEXP_DATA names no folder with the data sets")
    data = Digits() if data is Digits else data(folder)
    found = accuracy(SmallClassifier(data.name), data)
    assert 100 * found == pytest.approx(share(said, data.name), abs=0.02)


@pytest.mark.parametrize(
    ("weights", "name", "shape"),
    [
        ("digits", "digits64", (1, 8, 8)),
        ("mnist", "mnist64", (1, 28, 28)),
        ("fashion_mnist", "fashion64", (1, 28, 28)),
    ],
)
def test_name_shape_and_size(weights, name, shape):
    classifier = SmallClassifier(weights)
    assert (classifier.name, classifier.dim, classifier.shape, classifier.classes) == (name, 64, shape, 10)
    classifier.check(shape)
    features = classifier(torch.zeros(3, *shape, dtype=torch.uint8))
    assert features.shape == (3, 64) and features.dtype == torch.float32
    assert (SHIPPED / f"{weights}.safetensors").stat().st_size <= 250_000


def test_features_of_an_image_do_not_depend_on_the_batch():
    images, classifier = Digits().split("val").images, SmallClassifier()
    torch.testing.assert_close(classifier(images)[7:8], classifier(images[7:8]), atol=1e-5, rtol=1e-5)


def test_the_features_have_a_covariance_of_full_rank():
    features = SmallClassifier()(Digits().split("train").images).double()
    values = torch.linalg.eigvalsh(features.T.cov())
    assert values[0] > 1e-8 * values[-1]  # far from the 1e-12 at which it counts as singular


def test_building_one_leaves_the_generator_alone():
    state = torch.get_rng_state()
    SmallClassifier("mnist")
    assert torch.equal(torch.get_rng_state(), state)


def test_training_makes_the_same_file_twice_and_one_that_recognises_digits(tmp_path):
    shares = [train(Digits(), 8, tmp_path / f"{i}.safetensors") for i in range(2)]
    assert shares[0] == shares[1] > 0.95
    assert (tmp_path / "0.safetensors").read_bytes() == (tmp_path / "1.safetensors").read_bytes()


def test_images_of_another_size_are_refused():
    with pytest.raises(
        ConfigError, match=r"digits64 measures images of 1x8x8, not 3x32x32[\s\S]*metrics=inception"
    ):
        SmallClassifier().check((3, 32, 32))
    with pytest.raises(ConfigError) as error:
        SmallClassifier().check((1, 28, 28))
    assert error.value.do == "type metrics=fashion_mnist or metrics=mnist or metrics=none"


def test_a_name_that_is_none_and_a_file_that_is_broken(tmp_path):
    with pytest.raises(DataError, match=r"no such weights file[\s\S]*digits, fashion_mnist, mnist"):
        SmallClassifier("digit")
    file = tmp_path / "broken.safetensors"
    file.write_bytes(b"nonsense")
    with pytest.raises(DataError, match="not a weights file of a classifier"):
        SmallClassifier(str(file))
