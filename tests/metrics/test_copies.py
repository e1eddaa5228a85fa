"""The watch for copies: against closed forms, images that are copies, and a statistic of SciPy."""

import math

import pytest
import torch
from commands import CONF
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from diffexp.config.compat import BASE
from diffexp.data import Digits
from diffexp.errors import ConfigError
from diffexp.metrics import FID, Copies, MetricSet, SmallClassifier
from diffexp.metrics.copies import distinct, nearest, ratio, z_of_ranks
from diffexp.pictures import FRAME, paired


def normal(n, dim, seed):
    return torch.randn(n, dim, generator=torch.Generator().manual_seed(seed))


def measured(train, test, made):
    metric = Copies(cache=None)
    metric._test, metric._labels = test, None
    return metric.of(train, made)


@pytest.mark.parametrize(
    ("dim", "mutual"),
    # that the nearest of the nearest is the point itself (Pickard 1982): a ball over two of them, one apart
    [(1, 2 / 3), (2, 6 * math.pi / (8 * math.pi + 3 * math.sqrt(3))), (3, 16 / 27)],
)
def test_authpct_of_fresh_draws_is_the_share_of_points_without_a_mutual_neighbour(dim, mutual):
    found = measured(normal(4000, dim, 0), normal(2000, dim, 1), normal(4000, dim, 2))
    assert found["authpct"] == pytest.approx(1 - mutual, abs=0.025)
    assert abs(found["c_t"]) < 3
    assert found["fid_test"] == pytest.approx(found["fid_train"], abs=0.01)


def test_training_images_drawn_again_are_copies_and_not_authentic():
    train = normal(500, 8, 0)
    found = measured(train, normal(300, 8, 1), train[:200].clone())
    assert (found["authpct"], found["copies"]) == (0.0, 1.0)
    assert found["c_t"] < -15 and found["fid_train"] < found["fid_test"]


def test_samples_that_are_none_of_the_data_are_authentic_and_far():
    found = measured(normal(500, 8, 0), normal(300, 8, 1), normal(200, 8, 2) + 10)
    assert (found["authpct"], found["copies"]) == (1.0, 0.0) and found["c_t"] > 15


def test_each_part_of_the_training_images_has_its_share_of_each_class():
    """Else the classes that a part lacks would pass for what a model has not learnt."""
    centres, labels = 10 * normal(10, 4, 3), torch.arange(1450) % 10
    metric = Copies(cache=None)
    metric._labels, metric._test = labels[:1250], centres[labels[:180]] + normal(180, 4, 1)
    found = metric.of(centres[labels[:1250]] + normal(1250, 4, 0), centres[labels[:400]] + normal(400, 4, 2))
    assert found["fid_train"] == pytest.approx(found["fid_test"], abs=0.5)


def test_twenty_images_learnt_by_heart_are_seen_through_noise():
    train = normal(20, 8, 0)
    found = measured(train, normal(300, 8, 1), train[torch.arange(400) % 20] + 0.05 * normal(400, 8, 2))
    assert found["copies"] > 0.95 and found["fid_test"] > 2 * found["fid_train"]


def test_training_images_that_are_there_twice_hide_no_copies():
    """And of images that are there once nothing changes."""
    train, made = normal(20, 8, 0), normal(20, 8, 0) + 0.01 * normal(20, 8, 1)
    found = measured(train.repeat(3, 1), normal(300, 8, 1), made)
    assert (found["authpct"], found["copies"]) == (0.0, 1.0)
    assert distinct(train.repeat(3, 1)).tolist() == list(range(20)) == distinct(train).tolist()
    assert distinct(torch.ones(4, 2)).tolist() == [0, 1, 2, 3]  # else nothing is second


def test_c_t_is_the_z_of_mann_and_whitney():
    from scipy.stats import mannwhitneyu

    a, b = normal(300, 1, 0).flatten(), normal(200, 1, 1).flatten() + 0.1
    want = mannwhitneyu(a, b, use_continuity=False)
    found = z_of_ranks(a, b)
    assert math.erfc(abs(found) / math.sqrt(2)) == pytest.approx(float(want.pvalue), rel=1e-6)
    assert found < 0 and z_of_ranks(a, a) == 0


def test_the_nearest_two_and_their_ratio():
    among = torch.tensor([[0.0], [4.0], [4.0]])
    near, which = nearest(torch.tensor([[1.0], [4.0]]), among)
    assert near.tolist() == [[1, 3], [0, 0]] and which[0] == 0 and which[1] in (1, 2)
    assert ratio(near).tolist() == pytest.approx([1 / 3, 0])
    alone, _ = nearest(torch.zeros(1, 1), torch.ones(1, 1))
    assert ratio(alone).tolist() == [0]


def test_copies_of_digits_are_found_framed_and_drawn_beside_their_originals():
    data = Digits()
    metrics = MetricSet(40, SmallClassifier(), [FID(cache=None), Copies(cache=None, shown=10)])
    metrics.prepare(data)
    train, test = data.split("train"), data.split("test")
    for images in (train.batch(torch.arange(5)), test.batch(torch.arange(35))):
        metrics.update(images.image, images.label)
    found = metrics.compute()
    assert 5 / 40 <= found["copies_digits64"] <= 0.5
    assert metrics.cards["copies_digits64"]["n_reference"] == 1437
    assert metrics.cards["fid_test_digits64"]["split"] == "train and test"
    assert metrics.cards["fid_train_digits64"]["n_part"] == 180
    assert metrics.evidence["authpct_digits64/each"].shape == (40,)
    metric = metrics.metrics[1]
    assert isinstance(metric, Copies)
    assert sorted(metric._kept[1][:5].tolist()) == [0, 1, 2, 3, 4]  # the copies first, beside their originals
    picture = metrics.pictures["copies"]
    red = sum(pixel == FRAME for pixel in picture.get_flattened_data())
    assert red >= 5 * 2 * 4 * 3 * 80
    metrics.reset()
    assert metric._kept[0].numel() == 0


def test_a_pair_is_framed_and_stands_above_its_partner():
    picture = paired(
        torch.zeros(3, 1, 8, 8, dtype=torch.uint8), torch.full((3, 1, 8, 8), 255).byte(), [True, False, False]
    )
    red = sum(pixel == FRAME for pixel in picture.get_flattened_data())
    assert red == 2 * (86 * 86 - 80 * 80)
    column = [picture.getpixel((picture.width - 60, y)) for y in range(picture.height)]
    assert column.index((0, 0, 0)) < column.index((255, 255, 255))


def test_too_few_images_are_told():
    with pytest.raises(ConfigError, match="needs an extractor"):
        Copies().check(Digits(), None)
    with pytest.raises(ConfigError, match="shown=0"):
        Copies(shown=0)


def test_it_keeps_to_the_training_split_whatever_others_compare_with():
    with initialize_config_dir(str(CONF), **BASE):
        built = instantiate(compose(overrides=["+metrics=digits_copies"]).metrics)
    built.compare_with("test")
    assert built.metrics[0].reference == "test" and built.metrics[2].reference == "train"
