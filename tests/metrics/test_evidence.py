"""What an evaluation keeps for comparisons: by the numbers of images, whatever the order they came in."""

import pytest
import torch

from diffexp.data import Digits
from diffexp.metrics import FID, KID, Manifold, MetricSet, SmallClassifier, SVMAccuracy, extract
from diffexp.metrics.each import Each
from diffexp.metrics.fid import jackknife


@pytest.fixture(scope="module")
def measured():
    """(values, cards, evidence) of the same 180 images in turn, and as another rank's batches would come."""
    data, out = Digits(), []
    of = [FID(cache=None), SVMAccuracy(), Manifold(cache=None), KID(subsets=2, subset_size=180, cache=None)]
    metrics = MetricSet(180, SmallClassifier(), of)
    metrics.prepare(data)
    test = data.split("test").batch(torch.arange(180))
    orders = torch.arange(180).split(50), torch.arange(180).view(-1, 2).T.flatten().split(70)
    for batches in orders:
        metrics.reset()
        for index in batches:
            metrics.update(test.image[index], (test.label[index] + (index < 9)) % 10, None, index)
        out.append((metrics.compute(), metrics.cards, metrics.evidence))
    return out


def test_evidence_does_not_depend_on_the_order_or_the_ranks(measured):
    (values, _, evidence), (other, _, again) = measured
    assert set(evidence) == {
        "fid_digits64/without", "accuracy_svm/each", "precision_digits64/each", "density_digits64/each",
        "kid_digits64/each",
    }  # fmt: skip
    for key, kept in evidence.items():  # in any order the last bits of float32 features are others
        torch.testing.assert_close(kept, again[key], rtol=1e-6, atol=1e-6 * float(kept.abs().max()))
    assert values == pytest.approx(other, rel=1e-6)


def test_evidence_is_that_of_the_numbers(measured):
    values, cards, evidence = measured[0]
    for key in ("accuracy_svm", "precision_digits64", "density_digits64"):
        assert float(evidence[f"{key}/each"].mean()) == pytest.approx(values[key], rel=1e-9)
    wrong = (evidence["accuracy_svm/each"] == 0).nonzero().flatten()
    assert set(range(9)) <= set(wrong.tolist()) and len(wrong) < 15
    error = jackknife(evidence["fid_digits64/without"].tolist())
    assert error == cards["fid_digits64"]["standard_error"]


def test_what_each_image_adds_to_kid_is_its_change():
    """To first order: KID without one of n images is less by its share, from their mean, over n − 1."""
    data, metric = Digits(), KID(subsets=1, subset_size=100, cache=None)
    extractor = SmallClassifier()
    real = extract(extractor, data.split("train").images[:100]).cpu().double()
    some = extract(extractor, data.split("test").images[:100]).cpu().double() * 1.2
    metric._card = {}
    metric.of(real, some)

    def kernel(a, b):
        return (a @ b.T / 64 + 1) ** 3

    def unbiased(y):
        own = (kernel(y, y).sum() - kernel(y, y).diagonal().sum()) / (len(y) * (len(y) - 1))
        return own - 2 * kernel(y, real).mean()

    each, all_ = metric.each["kid"], unbiased(some)
    keep = torch.ones(100, dtype=torch.bool)
    keep[7] = False
    linear = (all_ - unbiased(some[keep])) * 99
    centred = each - each.mean()
    assert float(linear) == pytest.approx(float(centred[7]), rel=0.1)


def test_values_of_images_are_put_by_their_numbers():
    each = Each(2)
    each.update(torch.tensor([3, 0]), torch.tensor([[1.0, 2.0], [5.0, 6.0]]))
    out = each.over_ranks()
    assert out.shape == (2, 4) and out[:, 3].tolist() == [1, 2] and out[:, 0].tolist() == [5, 6]
    assert out[:, 1:3].isnan().all() and Each().over_ranks().shape == (1, 0)
