"""The Fréchet distance: closed forms, the values of torch-fidelity and torchmetrics, singular covariances."""

import numpy as np
import pytest
import torch
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
from torchmetrics.image.fid import FrechetInceptionDistance

from diffexp.errors import DataError
from diffexp.metrics import Statistics, frechet_distance
from diffexp.randomness import generator


def normal(n, dim, name, scale=1.0, shift=0.0):
    """n features with a covariance that is far from a multiple of the identity."""
    mix = torch.randn(dim, dim, generator=generator(0, "mix")) / dim**0.5
    return torch.randn(n, dim, generator=generator(0, name)) @ mix * scale + shift


def statistics(features, batch=100):
    out = Statistics(features.shape[1])
    for part in features.split(batch):
        out.update(part)
    return out


def exactly(mean, covariance, n=10_000):
    """Statistics with this mean and covariance."""
    mean, covariance = torch.as_tensor(mean).double(), torch.as_tensor(covariance).double()
    n = torch.tensor(float(n), dtype=torch.float64)
    return Statistics.of(n, n * mean, (n - 1) * covariance + n * torch.outer(mean, mean))


def torch_fidelity(a, b):
    both = [fid_features_to_statistics(x.double()) for x in (a, b)]
    return fid_statistics_to_metric(*both, False)["frechet_inception_distance"]


def torchmetrics(a, b):
    class Pass(torch.nn.Module):
        num_features = a.shape[1]

        def forward(self, x):
            return x.double()

    metric = FrechetInceptionDistance(feature=Pass(), normalize=False, input_img_size=(1,))
    metric.set_dtype(torch.float64)
    metric.update(a, real=True)
    metric.update(b, real=False)
    return metric.compute().item()


def test_one_dimension():
    # (3 − 1)² + (2 − 0.5)²
    assert frechet_distance(exactly([3.0], [[4.0]]), exactly([1.0], [[0.25]])) == pytest.approx(
        6.25, rel=1e-11
    )


def test_two_gaussians_in_closed_form():
    # tr (C₁C₂)^½ of 2 x 2 is (tr C₁C₂ + 2 (det C₁C₂)^½)^½, and these two do not commute
    c1, c2 = (
        torch.tensor([[2.0, 0.6], [0.6, 1.0]], dtype=torch.float64),
        torch.tensor([[1.0, -0.4], [-0.4, 3.0]], dtype=torch.float64),
    )
    product = c1 @ c2
    root = (product.trace() + 2 * product.det().sqrt()).sqrt()
    expected = 1 + 4 + (c1 + c2).trace() - 2 * root
    found = frechet_distance(exactly([1.0, 2.0], c1), exactly([0.0, 0.0], c2))
    assert found == pytest.approx(expected.item(), rel=1e-11)


def test_a_singular_covariance_in_closed_form():
    # C₁ = u uᵀ has rank 1, so the cross term is (uᵀC₂u)^½
    u, c2 = (
        torch.tensor([1.0, 2.0, 0.0], dtype=torch.float64),
        torch.diag(torch.tensor([1.0, 4.0, 9.0])).double(),
    )
    expected = 5 + 14 - 2 * 17**0.5
    assert frechet_distance(exactly([0.0] * 3, torch.outer(u, u)), exactly([0.0] * 3, c2)) == pytest.approx(
        expected, rel=1e-11
    )
    assert frechet_distance(exactly([1.0] * 3, torch.zeros(3, 3)), exactly([0.0] * 3, c2)) == pytest.approx(
        17
    )


@pytest.mark.parametrize(
    ("n", "m", "dim"), [(500, 700, 64), (65, 66, 64), (2000, 300, 256)], ids=["ample", "n=d+1", "large"]
)
def test_the_same_value_as_torch_fidelity_and_torchmetrics(n, m, dim):
    a, b = normal(n, dim, "a"), normal(m, dim, "b", 1.2, 0.1)
    found = frechet_distance(statistics(a), statistics(b))
    assert found > 0.5
    assert found == pytest.approx(torch_fidelity(a, b), rel=1e-6)
    assert found == pytest.approx(torchmetrics(a, b), rel=1e-6)


@pytest.mark.parametrize("kind", ["n<d", "dead", "doubled", "dead and n<d"])
def test_the_same_value_where_covariances_are_singular(kind):
    n = 40 if "n<d" in kind else 300
    a, b = normal(n, 64, "a"), normal(n + 10, 64, "b", 1.2, 0.1)
    if "dead" in kind:
        a[:, :10], b[:, 5:15] = 0, 0
    if kind == "doubled":
        a[:, :32], b[:, :32] = a[:, 32:], b[:, 32:]
    found = frechet_distance(statistics(a), statistics(b))
    # in exact terms: singular values of the two centred feature matrices' product
    x, y = (v.double() - v.double().mean(0) for v in (a, b))
    cross = torch.linalg.svdvals(x @ y.T).sum() / ((n - 1) * (n + 9)) ** 0.5
    spread = x.square().sum() / (n - 1) + y.square().sum() / (n + 9)
    exact = (a.double().mean(0) - b.double().mean(0)).square().sum() + spread - 2 * cross
    assert found == pytest.approx(exact.item(), rel=1e-9)
    assert found == pytest.approx(torch_fidelity(a, b), rel=1e-6)
    assert found == pytest.approx(torchmetrics(a, b), rel=1e-6)


@pytest.mark.parametrize("n", [40, 500])
def test_identical_sets_have_distance_0(n):
    a = normal(n, 64, "a", shift=1.0)
    assert 0 <= frechet_distance(statistics(a), statistics(a, batch=7)) < 1e-10


def test_a_large_common_mean_costs_no_precision():
    a, b = normal(500, 64, "a").double(), normal(500, 64, "b", 1.2).double()
    near = frechet_distance(statistics(a), statistics(b))
    assert frechet_distance(statistics(a + 100), statistics(b + 100)) == pytest.approx(near, rel=1e-8)


def test_mean_and_covariance_are_numpys_and_parts_add_up():
    a = normal(250, 16, "a", shift=0.5)
    whole, part = statistics(a), statistics(a[:90], batch=13)
    np.testing.assert_allclose(whole.mean, a.double().mean(0), rtol=1e-12)
    np.testing.assert_allclose(
        whole.covariance, np.cov(a.double().numpy(), rowvar=False), rtol=1e-9, atol=1e-12
    )
    rest = whole - part
    assert int(rest.n) == 160
    torch.testing.assert_close(rest.covariance, statistics(a[90:]).covariance)
    torch.testing.assert_close((rest + part).covariance, whole.covariance)


def test_features_that_are_not_finite_are_counted_and_refused():
    a = torch.zeros(5, 3)
    a[1, 0], a[4] = torch.nan, torch.inf
    with pytest.raises(DataError, match="features of 2 of 5 images are not finite"):
        Statistics(3).update(a)


def _rank(rank, folder):
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    mine = statistics(normal(200, 8, "a")[rank * 150 :][:150])  # 150 and 50
    torch.save(mine.over_ranks().tensors() | {"mine": mine.n}, f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_ranks_have_the_statistics_of_one(tmp_path):
    torch.multiprocessing.spawn(_rank, (str(tmp_path),), nprocs=2)
    whole = statistics(normal(200, 8, "a"))
    for rank, count in ((0, 150), (1, 50)):
        found = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert found["mine"] == count  # the rank's own are left as they were
        assert found["n"] == 200
        torch.testing.assert_close(found["outer"], whole.outer)
        torch.testing.assert_close(found["total"], whole.total)
