"""Sizes of aspect buckets, the bucket of each picture, and the order of their batches."""

import math
from itertools import pairwise

import pytest
import torch

from diffexp.data import Buckets
from diffexp.data.bucket_order import BucketOrder, in_turn_of_buckets
from diffexp.data.buckets import bucket_sizes, nearest_bucket
from diffexp.data.order import permutation
from diffexp.errors import ConfigError

FAMILIAR = [  # of 512 x 512 in steps of 64, from 256 to 1024
    (1024, 256), (960, 256), (896, 256), (832, 256), (768, 320), (704, 320), (640, 384), (576, 448),
    (512, 512), (448, 576), (384, 640), (320, 704), (320, 768), (256, 832), (256, 896), (256, 960),
    (256, 1024),
]  # fmt: skip


def pictures(count, seed=0, most=2000):
    return torch.randint(1, most, (count, 2), generator=torch.Generator().manual_seed(seed))


def of_counts(*counts):
    """Buckets with so many images, mixed."""
    bucket = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    return bucket[permutation(9, 9, len(bucket))]


def test_the_familiar_sizes():
    assert sorted(bucket_sizes(512 * 512, 64, 256, 1024)) == sorted(FAMILIAR)
    assert sorted(Buckets().sizes((512, 512))) == sorted(FAMILIAR)  # the values of null


@pytest.mark.parametrize(
    ("area", "step", "least", "most"), [(4096, 8, 32, 128), (1000, 7, 14, 70), (9, 1, 1, 9)]
)
def test_sizes_have_no_more_pixels_are_multiples_and_symmetric(area, step, least, most):
    sizes = bucket_sizes(area, step, least, most)
    assert len(set(sizes)) == len(sizes) and {(w, h) for h, w in sizes} == set(sizes)
    for h, w in sizes:
        assert h * w <= area and h % step == w % step == 0 and least <= min(h, w) <= max(h, w) <= most
        assert (h + step) * w > area or (w + step) * h > area or h == w


def test_a_picture_is_in_the_bucket_of_the_nearest_shape():
    sides = pictures(3000)
    chosen = nearest_bucket(sides, FAMILIAR)
    for (h, w), b in zip(sides[:300].tolist(), chosen.tolist(), strict=False):
        far = [abs(math.log(h / w) - math.log(H / W)) for H, W in FAMILIAR]
        assert far[b] == pytest.approx(min(far), abs=1e-8)


def test_high_and_wide_pictures_are_treated_alike():
    """Transposing all pictures transposes all buckets, and what is cut off and enlarged stays."""
    for enlarge in (True, False):
        sides, buckets = pictures(3000, 1), Buckets(enlarge=enlarge)
        one, other = (buckets.sort(given, (512, 512)) for given in (sides, sides.flip(1)))
        assert [one.sizes[b][::-1] for b in one.bucket] == [other.sizes[b] for b in other.bucket]
        assert torch.equal(one.cut, other.cut) and torch.equal(one.enlarged, other.enlarged)


def test_equally_near_sizes_are_told_apart_by_a_rule():
    """320 x 640 and 256 x 512 have one shape: the one of more pixels, wherever it stands."""
    sides = torch.tensor([[100, 200], [1, 2]])
    assert nearest_bucket(sides, [(256, 512), (320, 640), (512, 512)]).tolist() == [1, 1]
    assert nearest_bucket(sides, [(512, 512), (320, 640), (256, 512)]).tolist() == [1, 1]
    # halfway between the two: the square is nearer to none, and both have as many pixels
    assert nearest_bucket(torch.tensor([[50, 50]]), [(640, 320), (320, 640)]).tolist() == [1]


def test_what_is_cut_off_and_what_is_enlarged():
    sides = torch.tensor([[512, 512], [256, 256], [1000, 500], [511, 2000], [300, 1000]])
    found = Buckets().sort(sides, (512, 512))
    sizes = [found.sizes[b] for b in found.bucket]
    assert sizes == [(512, 512), (512, 512), (704, 320), (256, 1024), (256, 832)]
    # 1000 x 500 is scaled to 704 x 352, of which 32 columns are cut off
    expected = [0, 0, 32 / 352, 1 - (2000 / 511) / (1024 / 256), 1 - 832 / (1000 * 256 / 300)]
    assert found.cut.tolist() == pytest.approx(expected, abs=1e-12)
    assert found.enlarged.tolist() == [False, True, False, False, False]
    assert found.words() == (
        "4 of 17 sizes, from 704x320 to 256x1024; 2.7 % of a picture cut off on average; 1 of 5 enlarged"
    )


def test_small_pictures_have_sizes_of_their_own_on_request():
    sides = pictures(2000, 2)
    found = Buckets(enlarge=False).sort(sides, (512, 512))
    given = torch.tensor(found.sizes)[found.bucket]
    tiny = (sides < 64).any(1)  # smaller than a step cannot be helped
    assert torch.equal(found.enlarged, (given > sides).any(1)) and not found.enlarged[~tiny].any()
    assert (given % 64 == 0).all() and given.min() >= 64 and given.max() <= 1024
    assert given.prod(1).max() <= 512 * 512
    large = ~Buckets().sort(sides, (512, 512)).enlarged
    plain = Buckets().sort(sides, (512, 512))
    assert [found.sizes[b] for b in found.bucket[large]] == [plain.sizes[b] for b in plain.bucket[large]]
    assert found.cut.max() < 1 and sum(found.counts) == 2000


@pytest.mark.parametrize(
    ("typed", "where", "do"),
    [
        ({"step": 0}, "step", "1 or more"),
        ({"step": True}, "step", "1 or more"),
        ({"most": 10**6}, "most", "less"),
        ({"step": 100}, "step", "type data.buckets.step=8"),
        ({"least": 20}, "least", "type data.buckets.least=24"),
        ({"least": 72}, "least", "least=null"),
        ({"most": 56}, "most", "most=null"),
        ({"step": 1, "least": 1, "most": 16000}, "step", "an eighth"),
    ],
)
def test_numbers_that_make_no_sizes_are_refused(typed, where, do):
    with pytest.raises(ConfigError) as error:
        Buckets(**typed).sizes((64, 64))
    assert error.value.where == f"data.buckets.{where}" and do in error.value.do


@pytest.mark.parametrize("fill", [False, True])
@pytest.mark.parametrize("counts", [(40, 3, 0, 1, 17), (1,) * 20, (5, 16), (0, 0, 30)])
def test_every_image_is_seen_once_an_epoch(counts, fill):
    bucket, B = of_counts(*counts), 8
    order = BucketOrder(bucket, B, seed=3, fill=fill)
    assert len(order) == sum(math.ceil(n / B) for n in counts)
    for epoch in (0, 1, 5):
        batches = [order.batch(epoch * len(order) + k) for k in range(len(order))]
        assert {e for e, _ in batches} == {epoch}
        assert all(len(bucket[index].unique()) == 1 for _, index in batches)
        seen = torch.cat([index for _, index in batches]).bincount(minlength=len(bucket))
        if fill:
            assert seen.min() >= 1 and {len(index) for _, index in batches} == {B}
        else:
            assert torch.equal(seen, torch.ones_like(seen))
        assert all(order.weight(epoch * len(order) + k) is None for k in range(len(order)))


def test_a_filled_batch_takes_others_of_the_epoch_and_each_as_often():
    """20 of a bucket in batches of 8: four of them twice; 3 of one: 2 or 3 times each."""
    order = BucketOrder(of_counts(20, 3), 8, seed=1, fill=True)
    seen = torch.cat([order.batch(k)[1] for k in range(len(order))]).bincount()
    assert sorted(seen[order.bucket == 0].tolist()) == [1] * 16 + [2] * 4
    assert sorted(seen[order.bucket == 1].tolist()) == [2, 3, 3]
    again = [order.batch(k)[1] for k in range(4, 8)]
    short = next(
        index for index in again if (order.bucket[index] == 0).all() and len(set(index.tolist())) == 8
    )
    assert len(short) == 8


@pytest.mark.parametrize("fill", [False, True])
@pytest.mark.parametrize("world", [2, 3, 4])
def test_ranks_together_see_what_one_sees(world, fill):
    """With as much work for each; images that fill up weigh nothing, and the loss is that of the others."""
    bucket = of_counts(40, 3, 0, 1, 17, 2)
    alone = BucketOrder(bucket, 12, seed=1, fill=fill)
    ranks = [BucketOrder(bucket, 12, seed=1, rank=r, world=world, fill=fill) for r in range(world)]
    values = torch.arange(len(bucket)).double().sin()  # the loss of each image, say
    filled = 0
    for number in range(3 * len(alone)):
        epoch, whole = alone.batch(number)
        shares = [rank.batch(number) for rank in ranks]
        weights = [rank.weight(number) for rank in ranks]
        assert {e for e, _ in shares} == {epoch}
        assert len({len(index) for _, index in shares}) == 1 and len(shares[0][1]) > 0
        together = torch.cat([index for _, index in shares])
        assert torch.equal(together[: len(whole)], whole) and len(together) - len(whole) < world
        means = [
            float((values[index] * (1 if weight is None else weight)).mean())
            for (_, index), weight in zip(shares, weights, strict=True)
        ]
        assert sum(means) / world == pytest.approx(float(values[whole].mean()), abs=1e-7)
        filled += len(together) - len(whole)
    assert (filled > 0) == (not fill)


def test_any_batch_is_known_without_those_before_it():
    bucket = of_counts(40, 3, 1, 17)
    order = BucketOrder(bucket, 8, seed=4)
    in_sequence = [order.batch(number) for number in range(50)]
    torch.manual_seed(0)
    permutation.cache_clear()
    for number in (49, 0, 23, 11, 12):
        epoch, index = BucketOrder(bucket, 8, seed=4).batch(number)
        assert epoch == in_sequence[number][0] and torch.equal(index, in_sequence[number][1])


def test_buckets_are_mixed_and_other_in_each_epoch_and_seed():
    bucket = of_counts(400, 400)
    order, other = (BucketOrder(bucket, 4, seed=seed) for seed in (0, 1))
    epochs = [[int(order.bucket[order.batch(e * 200 + k)[1][0]]) for k in range(200)] for e in (0, 1)]
    epochs.append([int(bucket[other.batch(k)[1][0]]) for k in range(200)])
    for found in epochs:  # the number of changes of a random order: 100 ± 7
        changes = sum(a != b for a, b in pairwise(found))
        assert 72 < changes < 128
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0]
    assert [order.batch(k)[1].tolist() for k in range(3)] == [order.batch(k)[1].tolist() for k in range(3)]


def test_a_batch_that_ranks_cannot_share_or_of_more_than_all_is_refused():
    with pytest.raises(ConfigError, match="more than the 5 training images"):
        BucketOrder(of_counts(2, 3), 8)
    with pytest.raises(ConfigError, match="cannot be shared equally by 3 ranks"):
        BucketOrder(of_counts(20, 3), 8, world=3)


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("counts", [(40, 3, 0, 1, 17), (1, 1), (13, 26)])
def test_validation_sees_every_image(counts, world):
    bucket = of_counts(*counts)
    ranks = [in_turn_of_buckets(bucket, 12, r, world) for r in range(world)]
    assert len({len(rank) for rank in ranks}) == 1
    assert all(len(index) > 0 and len(bucket[index].unique()) == 1 for rank in ranks for index in rank)
    seen = torch.cat([index for rank in ranks for index in rank]).bincount(minlength=len(bucket))
    few = torch.tensor([0 < n < world for n in counts])[bucket]
    assert (seen[~few] == 1).all() and (seen[few] == world).all()
