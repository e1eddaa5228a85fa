"""Metrics of features kept one by one: against torch-fidelity, closed forms, and what is known of copies."""

import math

import pytest
import torch

from diffexp.data import Digits
from diffexp.errors import ConfigError
from diffexp.metrics import KID, Extractor, FIDInfinity, Inception, InceptionScore, Manifold, SmallClassifier


def normal(n, dim=8, shift=0.0, scale=1.0, seed=0):
    return shift + scale * torch.randn(n, dim, generator=torch.Generator().manual_seed(seed))


def test_kid_of_one_distribution_is_nothing_and_of_two_what_the_kernel_says():
    """Unbiased: about 0 for the same; for a shift by m of unit normals the cubic kernel has a closed form."""
    kid, dim = KID(subsets=50, subset_size=500), 4
    same = kid.of(normal(3000, dim, seed=1), normal(3000, dim, seed=2))
    assert abs(same["kid"]) < 3 * same["kid_std"] / math.sqrt(6)
    # k(x, y) = (x·y/d + 1)³; E of it for x ~ N(a, I), y ~ N(b, I) by moments of u = x·y
    m = torch.full((dim,), 0.5)

    def expected(a, b):
        ab, aa, bb = float(a @ b), float(a @ a), float(b @ b)
        second = dim + aa + bb + ab**2
        third = ab**3 + 3 * ab * (dim + aa + bb) + 6 * ab
        return 1 + 3 * ab / dim + 3 * second / dim**2 + third / dim**3

    zero = torch.zeros(dim)
    want = expected(zero, zero) + expected(m, m) - 2 * expected(zero, m)
    found = KID(subsets=60, subset_size=1000).of(normal(9000, dim, seed=1), normal(9000, dim, 0.5, seed=2))
    assert found["kid"] == pytest.approx(want, rel=0.06)


def test_precision_and_recall_are_those_of_torch_fidelity():
    from torch_fidelity.metric_prc import prc_features_to_metric

    a, b = normal(700, seed=1), normal(600, 8, 0.4, 0.8, seed=2)
    want = prc_features_to_metric(
        b, a, prc_neighborhood=3, prc_batch_size=1000, save_cpu_ram=False, verbose=False
    )
    found = Manifold(k=3).of(a, b)
    assert found["precision"] == pytest.approx(want["precision"], abs=2 / 600)
    assert found["recall"] == pytest.approx(want["recall"], abs=2 / 700)


def test_copies_are_precise_and_one_image_covers_little():
    a = normal(500)
    same = Manifold().of(a, a.clone())
    assert same["precision"] == same["recall"] == same["coverage"] == 1.0
    alone = Manifold().of(a, a[:1] + 1e-4 * normal(500, seed=3))
    assert alone["precision"] == 1.0 and alone["coverage"] < 0.1 and alone["recall"] < 0.1
    far = Manifold().of(a, a + 100)
    assert far == {"precision": 0.0, "recall": 0.0, "density": 0.0, "coverage": 0.0}


def test_density_of_one_distribution_is_one():
    """Of as many real as generated images each ball holds k of both, on the average."""
    found = Manifold(k=5).of(normal(3000, 3, seed=1), normal(3000, 3, seed=2))
    assert found["density"] == pytest.approx(1, abs=0.05)
    assert found["coverage"] == pytest.approx(1 - 0.5**5, abs=0.02)  # the expectation of Naeem et al. 2020


def test_fid_at_infinity_is_less_biased_than_fid():
    """Of two equal Gaussians FID is 0, and that of N images is above it."""
    real, made = normal(60_000, 16, seed=1), normal(800, 16, seed=2)
    found = FIDInfinity().of(real, made)
    from diffexp.metrics.fid_infinity import _statistics
    from diffexp.metrics.statistics import frechet_distance

    plain = frechet_distance(_statistics(real), _statistics(made))
    assert abs(found["fid_inf"]) < plain / 3 and 0 < found["fid_std"] < plain
    shifted = FIDInfinity().of(real, made + 0.5)
    assert shifted["fid_inf"] == pytest.approx(16 * 0.25, rel=0.12)


class Classes(Extractor):
    """Features that are logits of ten classes."""

    classifies, dim = True, 10

    def logits(self, features):
        return features

    @property
    def device(self):
        return torch.device("cpu")


def test_inception_score_is_the_number_of_classes_that_are_found():
    score = InceptionScore(splits=1)
    score._extractor = Classes()
    sure = 60 * torch.eye(10)[torch.arange(400) % 10]
    assert score.of(sure, sure)["inception_score"] == pytest.approx(10)
    assert score.of(sure, sure[::2])["inception_score"] == pytest.approx(5)
    assert score.card()["real"] == pytest.approx(10)
    parts = InceptionScore(splits=4)
    parts._extractor = Classes()
    assert 0 < parts.of(sure, sure)["inception_score_std"] < 0.3  # of random images
    unsure = score.of(sure, torch.zeros(400, 10))
    assert unsure["inception_score"] == pytest.approx(1) and unsure["inception_score_std"] < 1e-9
    with pytest.raises(ConfigError, match="inception768 finds no classes"):
        score.check(Digits(), Inception(768))


@pytest.mark.parametrize("make", [KID, Manifold, FIDInfinity, InceptionScore])
def test_each_runs_on_digits_with_a_card(make, tmp_path):
    data, extractor = Digits(), SmallClassifier("digits")
    metric = make(reference="train", cache=str(tmp_path))
    metric.check(data, extractor)
    metric.prepare(data, extractor, 60)
    (batch,) = [b for b in data.batches("test", 60)][:1]
    from diffexp.metrics import extract

    metric.update(batch, extract(extractor, batch.image))
    values = metric.compute()
    assert all(key.endswith("_digits64") and math.isfinite(v) for key, v in values.items())
    card = metric.card()
    assert card["n"] == 60 and card["n_reference"] == 1437 and card["data"] == "digits"
    assert len(list(tmp_path.iterdir())) == 1
    metric.reset()
    with pytest.raises(ConfigError, match="at least 10 generated images"):
        metric.compute()
    with pytest.raises(ConfigError, match="needs an extractor"):
        metric.check(data, None)


def test_fid_std_is_that_of_other_images():
    """Of 40 sets of N images the FIDs scatter as much as the halves of one set say."""
    from diffexp.metrics.fid_infinity import _statistics
    from diffexp.metrics.statistics import frechet_distance

    real = _statistics(normal(50_000, 4, seed=1))
    fids = [frechet_distance(real, _statistics(normal(500, 4, 0.3, seed=s))) for s in range(2, 42)]
    told = FIDInfinity(halves=40).of(normal(50_000, 4, seed=1), normal(500, 4, 0.3, seed=99))["fid_std"]
    assert told == pytest.approx(float(torch.tensor(fids).std()), rel=0.4)


def test_standard_errors_are_the_spread_over_other_images():
    """Of 40 sets of generated images, against the same real ones."""
    real, found = normal(1000, 4, seed=0), {}
    for seed in range(1, 41):
        metric = Manifold(k=3)
        values = metric.of(real, normal(300, 4, 0.4, seed=seed))
        for key, value in values.items():
            found.setdefault(key, []).append((value, metric.errors[key]))
    for key in ("precision", "density"):  # of the generated images; the others are of the real ones
        values, errors = torch.tensor(found[key]).T
        assert float(errors.mean()) == pytest.approx(float(values.std()), rel=0.3), key
