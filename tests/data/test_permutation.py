"""The order of more than a million images: computed, a bijection, uniform, and nothing in memory."""

import tracemalloc

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_resume import run, streaming  # noqa: F401  (a fixture)

from diffexp.data import order
from diffexp.data.order import TrainOrder
from diffexp.data.permutation import permuted

PRIMES = (2, 3, 5, 7, 11, 13, 97, 101, 257, 997, 4099, 10_007)


def whole(count, seed=0, epoch=0):
    return permuted(seed, "order", epoch, count=count, place=torch.arange(count))


@pytest.mark.parametrize(
    "counts",
    [range(1, 300), PRIMES, [2**k for k in range(14)], [k * k + d for k in (30, 99) for d in (-1, 0, 1)]],
)
def test_every_number_is_there_once(counts):
    for count in counts:
        for epoch in (0, 1):
            assert torch.equal(whole(count, epoch=epoch).sort().values, torch.arange(count)), count


@given(st.integers(1, 200_000), st.integers(0, 2**31), st.integers(0, 2**31))
@settings(max_examples=25, deadline=None)
def test_any_count_seed_and_epoch_give_a_bijection(count, seed, epoch):
    assert torch.equal(whole(count, seed, epoch).sort().values, torch.arange(count))


def test_the_permutation_is_frozen():
    assert whole(10).tolist() == [3, 0, 2, 6, 9, 8, 4, 7, 5, 1]
    assert permuted(3, "order", 7, count=10**8, place=torch.tensor([0, 1, 99_999_999])).tolist() == [
        39401106,
        28871650,
        55556169,
    ]


def test_a_place_gives_the_same_in_any_company():
    some = torch.tensor([[5, 999_999], [123_456, 0]])
    of_all = whole(1_000_003, 4, 2)
    assert torch.equal(permuted(4, "order", 2, count=1_000_003, place=some), of_all[some])


def chi_square(counts):
    """Standard deviations by which chi-square is from its mean, k − 1, under even counts."""
    counts = counts.double()
    expected = counts.sum() / counts.numel()
    free = counts.numel() - 1
    return float((((counts - expected) ** 2 / expected).sum() - free) / (2 * free) ** 0.5)


@pytest.mark.parametrize("seed", [0, 1])
def test_where_an_image_comes_and_what_comes_behind_it_are_even(seed):
    count, bins = 1_000_003, 64
    images = whole(count, seed)
    coarse = images * bins // count
    by_place = torch.bincount(torch.arange(count) * bins // count * bins + coarse, minlength=bins**2)
    pairs = torch.bincount(coarse[:-1] * bins + coarse[1:], minlength=bins**2)
    steps = torch.bincount((images[1:] - images[:-1]) % count % 1024, minlength=1024)
    low = torch.bincount(images[:-1] % bins * bins + images[1:] % bins, minlength=bins**2)
    for counts in (pairs, low):
        assert abs(chi_square(counts)) < 4
    assert chi_square(by_place) < 4  # each row and column has its whole number, so it is a little below
    assert abs(chi_square(steps)) < 4
    # images that were neighbours and are so again: one of either kind is expected
    assert int(((images[1:] - images[:-1]).abs() == 1).sum()) < 12


def test_over_epochs_an_image_is_anywhere_and_pairs_are_apart():
    count, bins, epochs = 10**8, 8, 2000
    place = torch.tensor([0, 1])
    found = torch.stack([permuted(5, "order", epoch, count=count, place=place) for epoch in range(epochs)])
    coarse = found * bins // count
    for image in coarse.T:
        assert abs(chi_square(torch.bincount(image, minlength=bins))) < 4
    assert abs(chi_square(torch.bincount(coarse[:, 0] * bins + coarse[:, 1], minlength=bins**2))) < 4
    assert torch.corrcoef(found.T.double())[0, 1].abs() < 4 / epochs**0.5


def test_a_hundred_million_images_are_ordered_and_shared_in_no_memory():
    order.permutation.cache_clear()
    tracemalloc.start()
    try:
        alone = TrainOrder(10**8, 256, seed=1)
        ranks = [TrainOrder(10**8, 256, seed=1, rank=rank, world=4) for rank in range(4)]
        for number in (0, 1, len(alone) - 1, 7 * len(alone) + 5):
            epoch, images = alone.batch(number)
            assert torch.equal(torch.cat([rank.batch(number)[1] for rank in ranks]), images)
            assert epoch == number // len(alone) and len(images.unique()) == 256
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
    assert order.permutation.cache_info().currsize == 0  # what torch has in memory is not traced


def test_a_small_set_keeps_its_order():
    large, small = TrainOrder(order.MOST + 1, 1000), TrainOrder(order.MOST, 1000)
    assert torch.equal(small.batch(3)[1], order.permutation(0, 0, order.MOST)[3000:4000])
    assert not torch.equal(large.batch(3)[1], order.permutation(0, 0, order.MOST + 1)[3000:4000])
    order.permutation.cache_clear()


@pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning", "ignore:.*smaller than the logging interval")
def test_an_old_run_goes_on_in_its_old_order(streaming, tmp_path, monkeypatch):  # noqa: F811
    old, _ = run(streaming, 9, tmp_path)
    half, trainer = run(streaming, 4, tmp_path)
    trainer.save_checkpoint(tmp_path / "new.ckpt")
    state = torch.load(tmp_path / "new.ckpt", weights_only=True)
    (told,) = state["loops"]["fit_loop"]["state_dict"]["combined_loader"]
    assert told == {"processed": 4, "order": "sorted"}
    del told["order"]  # as runs wrote it before there were two
    torch.save(state, tmp_path / "old.ckpt")
    monkeypatch.setattr(order, "MOST", 10)
    for name in ("old", "new"):
        rest, _ = run(streaming, 9, tmp_path, tmp_path / f"{name}.ckpt")
        assert half.seen + rest.seen == old.seen
    new, _ = run(streaming, 9, tmp_path)
    assert new.seen != old.seen
    first, trainer = run(streaming, 4, tmp_path)
    trainer.save_checkpoint(tmp_path / "computed.ckpt")
    second, _ = run(streaming, 9, tmp_path, tmp_path / "computed.ckpt")
    assert first.seen + second.seen == new.seen
