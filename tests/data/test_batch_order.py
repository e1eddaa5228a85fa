"""Order, shares of ranks and flips are functions of seed, epoch and index."""

import pytest
import torch

from diffexp.data import Digits
from diffexp.data.order import TrainOrder, flips, in_turn, permutation
from diffexp.errors import ConfigError
from diffexp.training import DataModule


def test_an_epoch_shows_every_image_once():
    order = TrainOrder(103, 10, seed=4)
    for epoch in (0, 1, 7):
        batches = [order.batch(epoch * 10 + i) for i in range(10)]
        assert {e for e, _ in batches} == {epoch}
        shown = torch.cat([index for _, index in batches])
        assert len(shown.unique()) == 100 and shown.min() >= 0 and shown.max() < 103


def test_the_order_depends_on_seed_and_epoch_only():
    assert sorted(permutation(1, 2, 1000).tolist()) == list(range(1000))
    first = permutation(1, 2, 1000).clone()
    permutation.cache_clear()
    torch.manual_seed(9)
    assert torch.equal(first, permutation(1, 2, 1000))
    for other in (permutation(1, 3, 1000), permutation(2, 2, 1000)):
        assert (first == other).sum() < 10  # one match is expected of two permutations


def test_the_order_is_frozen():
    assert permutation(0, 0, 10).tolist() == [8, 1, 6, 2, 5, 4, 9, 7, 0, 3]


def test_over_many_epochs_an_image_is_anywhere():
    """Mean place of image 0 in 400 epochs of 101: 50 ± 29.15/20; the place of image 1 is unrelated."""
    places = torch.stack([permutation(5, epoch, 101).argsort()[:2] for epoch in range(400)]).double()
    assert (places.mean(0) - 50).abs().max() < 4 * 29.15 / 20
    assert torch.corrcoef(places.T)[0, 1].abs() < 4 / 20


@pytest.mark.parametrize("world", [2, 3, 4])
def test_the_ranks_together_see_the_batch_of_one_rank(world):
    alone = TrainOrder(100, 12, seed=1)
    ranks = [TrainOrder(100, 12, seed=1, rank=r, world=world) for r in range(world)]
    for number in range(20):
        assert len(alone) == len(ranks[0])
        shares = [rank.batch(number)[1] for rank in ranks]
        assert torch.equal(torch.cat(shares), alone.batch(number)[1])
        assert {len(share) for share in shares} == {12 // world}


@pytest.mark.parametrize(("count", "world"), [(180, 1), (180, 2), (513, 2), (257, 8), (256, 3)])
def test_in_order_every_rank_has_as_many_batches(count, world):
    ranks = [list(in_turn(count, 256, r, world)) for r in range(world)]
    assert len({len(rank) for rank in ranks}) == 1
    seen = torch.cat([index for rank in ranks for index in rank]).sort().values
    left_out = count % 256 if count % 256 < world else 0
    assert torch.equal(seen, torch.arange(count - left_out))
    assert min(len(index) for rank in ranks for index in rank) > 0


def test_flips_are_fair_and_independent_of_company():
    index = torch.arange(20_000)
    first, second = flips(3, 0, index), flips(3, 1, index)
    assert abs(first.double().mean() - 0.5) < 4 * 0.5 / 20_000**0.5
    assert abs((first == second).double().mean() - 0.5) < 4 * 0.5 / 20_000**0.5
    some = torch.tensor([17, 3, 19_999])
    assert torch.equal(flips(3, 0, some), first[some])


def test_flip_mirrors_what_it_says_and_nothing_else():
    plain = list(DataModule(Digits(), 64, seed=2).train_dataloader())
    flipped = list(DataModule(Digits(), 64, flip=True, seed=2).train_dataloader())
    for a, b in zip(plain, flipped, strict=True):
        mirrored = flips(2, 0, a.index)
        assert torch.equal(a.index, b.index) and torch.equal(a.label, b.label)
        assert torch.equal(b.image[mirrored], a.image[mirrored].flip(-1))
        assert torch.equal(b.image[~mirrored], a.image[~mirrored])
    assert mirrored.any() and not mirrored.all()


def test_the_loader_has_the_images_of_its_indices():
    images = Digits().split("train")
    loader = DataModule(Digits(), 100).train_dataloader()
    batches = list(loader)
    assert len(batches) == len(loader) == 14
    for batch in batches:
        assert batch.image.dtype == torch.uint8 and batch.text is None
        assert torch.equal(batch.image, images.images[batch.index])
        assert torch.equal(batch.label, images.labels[batch.index])


def test_the_evaluation_loaders_are_unshuffled_and_whole():
    module = DataModule(Digits(), eval_batch_size=100)
    for loader in (module.val_dataloader(), module.test_dataloader()):
        assert [len(batch.image) for batch in loader] == [100, 80]
        assert torch.cat([batch.index for batch in loader]).tolist() == list(range(180))


def test_wrong_sizes_are_refused_with_the_remedy():
    with pytest.raises(ConfigError, match="more than the 1437 training images") as error:
        TrainOrder(1437, 2048)
    assert error.value.do == "type loader.batch_size=1437 or less"
    with pytest.raises(ConfigError, match="shared equally by 3 ranks") as error:
        TrainOrder(100, 64, world=3)
    assert error.value.do == "type loader.batch_size=63"
    for wrong in ({"batch_size": 0}, {"eval_batch_size": -1}, {"workers": -1}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            DataModule(Digits(), **wrong)


def test_a_batch_is_at_most_all_images(capsys):
    assert len(DataModule(Digits(), 2048).train_dataloader()) == 1
    line = "chosen: batches of 1437 images, for there are no more (loader.batch_size=2048)\n"
    assert capsys.readouterr().out == line
