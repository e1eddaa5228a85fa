"""Keys are unique and mixed, and the noise of an image depends on nothing but what names it."""

import itertools

import torch

from diffexp.randomness import Noise, generator, key, keys

SHAPE = (3, 8, 8)


def test_the_first_key_is_the_first_number_of_splitmix64():
    assert key(0) == 0xE220A8397B1DCDAF >> 1


def test_every_bit_of_seed_and_word_turns_half_of_the_key():
    base = key(7, "train", 3)
    turned = [key(7 ^ (1 << b), "train", 3) ^ base for b in range(64)]
    turned += [key(7, "train", 3 ^ (1 << b)) ^ base for b in range(64)]
    share = [sum(z >> bit & 1 for z in turned) / len(turned) for bit in range(63)]
    assert abs(sum(share) / 63 - 0.5) < 0.02
    assert min(share) > 0.3 and max(share) < 0.7  # 128 flips of a coin: 4.5 standard deviations


def test_keys_are_unique_over_seeds_uses_steps_and_ranks():
    made = [key(s, use, i, j) for s, use, i, j in itertools.product(range(8), "abcde", range(50), range(50))]
    assert len(set(made)) == len(made) == 100_000
    assert min(made) >= 0 and max(made) < 2**63


def test_the_order_and_number_of_words_matter():
    assert len({key(0, 1, 2), key(0, 2, 1), key(0, 1), key(0, 1, 2, 0), key(1, 1, 2), key(0, "1", 2)}) == 6


def test_keys_of_many_are_the_key_of_each():
    index = torch.tensor([[0, 1, -1], [2**62, -(2**63), 2**63 - 1]])
    for words in ((), ("noise", 5), (-3, "a")):
        expected = [[key(9, *words, i) for i in row] for row in index.tolist()]
        assert keys(9, *words, index=index).tolist() == expected


def test_a_generator_repeats_its_draws():
    a, b = (torch.rand(5, generator=generator(1, "train", 2)) for _ in range(2))
    assert torch.equal(a, b)
    assert not torch.equal(a, torch.rand(5, generator=generator(1, "train", 3)))


def test_noise_is_the_same_in_any_batch_order_and_repetition():
    index = torch.tensor([5, 0, 900, 17, 3])
    whole = Noise(1, index, SHAPE)(4)
    assert whole.shape == (5, *SHAPE) and whole.dtype == torch.float32
    parts = torch.cat([Noise(1, index[:2], SHAPE)(4), Noise(1, index[2:], SHAPE)(4)])
    assert torch.equal(whole, parts)
    assert torch.equal(whole.flip(0), Noise(1, index.flip(0), SHAPE)(4))
    other = Noise(1, index, SHAPE)
    other(0), other(9)
    assert torch.equal(whole, other(4))


def test_noise_differs_by_seed_image_and_step():
    base = Noise(0, torch.arange(3), SHAPE)
    draws = [base(0), base(1), Noise(1, torch.arange(3), SHAPE)(0), Noise(0, torch.arange(3, 6), SHAPE)(0)]
    flat = torch.cat(draws).flatten(1)
    assert len(flat.unique(dim=0)) == 12


def test_noise_is_standard_normal_and_uncorrelated():
    n, shape = 4000, (3, 4, 4)
    first, second = (Noise(0, torch.arange(n), shape)(k).flatten(1).double() for k in (0, 1))
    count = first.numel()
    assert abs(first.mean()) < 4 / count**0.5
    assert abs(first.var() - 1) < 4 * (2 / count) ** 0.5
    assert abs((first**4).mean() - 3) < 4 * (96 / count) ** 0.5
    bound = 4 / count**0.5
    assert abs((first * second).mean()) < bound  # between steps
    assert abs((first[1:] * first[:-1]).mean()) < bound  # between images
    pixels = (first.T @ first / n - torch.eye(48)).abs()  # between pixels: 2,304 numbers
    assert pixels.max() < 5 * (2 / n) ** 0.5


def test_five_thousand_starts_are_all_different():
    first = Noise(0, torch.arange(5000), (16,))(0)
    assert len(first.unique(dim=0)) == 5000
