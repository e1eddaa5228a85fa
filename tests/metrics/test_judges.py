"""The judges recognise real digits, and notice samples of the wrong class."""

import pytest
import torch

from diffexp.data import Digits, InMemory
from diffexp.data.dataset import DataSet, Splits
from diffexp.errors import ConfigError
from diffexp.metrics import ClassifierAccuracy, Inception, MetricSet, SmallClassifier, SVMAccuracy


class Judged:
    def __init__(self, metric):
        self.digits = Digits()
        self.metrics = MetricSet(1000, SmallClassifier(), [metric])
        self.metrics.prepare(self.digits)
        self.test = self.digits.split("test")

    def share(self, labels):
        self.metrics.reset()
        for images, some in zip(self.test.images.split(70), labels.split(70), strict=True):
            self.metrics.update(images, some)
        return self.metrics.compute()


@pytest.fixture(scope="module", params=["svm", "digits64"])
def judged(request):
    return request.param, Judged(SVMAccuracy() if request.param == "svm" else ClassifierAccuracy(None))


def test_real_unseen_digits_are_recognised(judged):
    name, case = judged
    share = case.share(case.test.labels)[f"accuracy_{name}"]
    assert share > 0.98
    card = case.metrics.cards[f"accuracy_{name}"]
    assert card["n"] == 180 and card["accuracy_real_test"] == pytest.approx(share, abs=1e-6)


def test_wrong_classes_are_noticed(judged):
    name, case = judged
    right = case.share(case.test.labels)[f"accuracy_{name}"]
    half = case.test.labels.clone()
    half[:90] = (half[:90] + 1) % 10
    assert case.share((case.test.labels + 1) % 10)[f"accuracy_{name}"] <= 1 - right + 1e-9
    assert case.share(half)[f"accuracy_{name}"] == pytest.approx(right / 2, abs=0.02)


def test_samples_without_labels_are_not_judged(judged):
    _, case = judged
    case.metrics.reset()
    case.metrics.update(case.test.images)
    assert case.metrics.compute() == {} and case.metrics.cards == {}


def test_the_svm_sees_the_train_split_only_up_to_its_limit():
    case = Judged(SVMAccuracy(limit=200))
    card = case.metrics.metrics[0].card()
    assert card["n_train"] == 200 and 0.9 < card["accuracy_real_test"] < 1


class Mistaken(Digits):
    """Half of the test images have the label of the next class."""

    def read(self):
        train, val, test = super().read()
        labels = test.labels.clone()
        labels[:90] = (labels[:90] + 1) % 10
        return Splits(train, val, InMemory(test.images, labels))


@pytest.mark.parametrize("metric", [SVMAccuracy(), ClassifierAccuracy(None)], ids=["svm", "classifier"])
def test_the_card_has_the_share_of_real_images_that_the_judge_recognises(metric):
    metric.prepare(Mistaken(), SmallClassifier(), 100)
    assert metric.card()["accuracy_real_test"] == pytest.approx(0.5, abs=0.02)


class Unnamed(DataSet):
    name, classes, shape = "unnamed", None, (1, 8, 8)

    def read(self):
        part = InMemory(torch.zeros(5, *self.shape, dtype=torch.uint8))
        return Splits(part, part, part)


def test_what_cannot_judge_is_refused_before_training():
    for metric in (SVMAccuracy(), ClassifierAccuracy()):
        with pytest.raises(ConfigError, match="unnamed has none"):
            MetricSet(100, SmallClassifier(), [metric]).check(Unnamed())
    with pytest.raises(ConfigError, match="only a SmallClassifier can judge"):
        ClassifierAccuracy().check(Digits(), Inception(64))
    with pytest.raises(ConfigError, match="limit=5 is less than 10"):
        SVMAccuracy(limit=5)


def test_each_class_has_its_share_and_the_whole_its_error(judged):
    name, case = judged
    wrong = case.test.labels.clone()
    fours = wrong == 4
    case.metrics.reset()
    wrong[fours] = 7  # fours are asked for as sevens
    share = case.share(wrong)[f"accuracy_{name}"]
    card = case.metrics.cards[f"accuracy_{name}"]
    sevens = int((wrong == 7).sum())
    assert card["by_class"]["7"] == pytest.approx(1 - int(fours.sum()) / sevens, abs=0.06)
    assert "4" not in card["by_class"] and card["by_class"]["0"] > 0.9
    assert card["standard_error"] == pytest.approx((share * (1 - share) / 180) ** 0.5)
