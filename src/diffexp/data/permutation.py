"""A permutation of 0..n-1 whose value at any place is computed, with nothing in memory.

A number below a·b ≥ n is a pair (l, r), l < a, r < b, and a round of a Feistel network adds to one of the two
a pseudo-random function of the other,

    l ← (l + f(r)) mod a,  r ← (r + g(l)) mod b

which can be undone, so it is a bijection whatever f and g are (Black & Rogaway 2002, Ciphers with arbitrary
finite domains). Numbers from n to a·b − 1 are put in again until they come out below n (cycle walking): with
a and b next to √n that is at most one number of √n.
"""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffexp.randomness import key

ROUNDS = 8
"""How many are done. What is left of the distance of two neighbours goes with n^(-ROUNDS/4)."""
_BLOCK = 1 << 16  # numbers at a time, so that what is in between stays in the processor's cache
Numbers = NDArray[np.uint64]


def permuted(seed: int, *words: int | str, count: int, place: Tensor) -> Tensor:
    """Return which of the numbers 0..count-1 are at these places, int64 of the shape of `place`, of the
    permutation that `seed` and `words` name.
    """
    made = [_at(part, count, _round_keys(seed, *words)) for part in _blocks(place)]
    return torch.from_numpy(np.concatenate(made).astype(np.int64)).reshape(place.shape)


def _blocks(place: Tensor) -> list[Numbers]:
    return [part.numpy().astype(np.uint64) for part in place.reshape(-1).split(_BLOCK)]


def _round_keys(seed: int, *words: int | str) -> list[np.uint64]:
    return [np.uint64(key(seed, *words, number)) for number in range(ROUNDS)]


def _at(place: Numbers, count: int, round_keys: list[np.uint64]) -> Numbers:
    a = math.isqrt(count - 1) + 1
    b = -(-count // a)
    out = _once(place, a, b, round_keys)
    while (outside := out >= count).any():
        out[outside] = _once(out[outside], a, b, round_keys)
    return out


def _once(x: Numbers, a: int, b: int, round_keys: list[np.uint64]) -> Numbers:
    most_a, most_b = np.uint64(a), np.uint64(b)
    left, right = x // most_b, x % most_b
    for f, g in zip(round_keys[::2], round_keys[1::2], strict=True):
        left = (left + _random(right + f)) % most_a
        right = (right + _random(left + g)) % most_b
    return left * most_b + right


def _random(x: Numbers) -> Numbers:
    """Return numbers below 2^63 that look random: the finalizer of splitmix64, as in randomness.py."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (x ^ (x >> np.uint64(31))) >> np.uint64(1)
