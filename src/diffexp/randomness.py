"""Randomness as a function, not a state: every draw is named by what it is for.

    key(seed, "train", step, micro, rank)  ->  the seed of a generator

so a resumed run draws what the unbroken run draws, and an image is the same in any batch.
Mixing is splitmix64 (Steele et al. 2014), whose finalizer is a bijection with full avalanche.
"""

from collections.abc import Callable
from functools import lru_cache
from hashlib import blake2b

import torch
from torch import Tensor

_MASK = (1 << 64) - 1
_GOLDEN, _M1, _M2 = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


def _mix(z: int) -> int:
    z = ((z ^ (z >> 30)) * _M1) & _MASK
    z = ((z ^ (z >> 27)) * _M2) & _MASK
    return z ^ (z >> 31)


@lru_cache(maxsize=256)
def _word(name: str) -> int:
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "little")


def key(seed: int, *words: int | str) -> int:
    """Return a 63-bit number that depends on the seed and on every word, in order."""
    z = _mix((seed + _GOLDEN) & _MASK)
    for w in words:
        z = _mix((z + _GOLDEN + (_word(w) if isinstance(w, str) else w)) & _MASK)
    return z >> 1


def generator(seed: int, *words: int | str, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a generator on `device`, seeded by `key(seed, *words)`."""
    return torch.Generator(device).manual_seed(key(seed, *words))


def _signed(z: int) -> int:
    return z - (1 << 64) if z >> 63 else z


def _shift(z: Tensor, n: int) -> Tensor:  # logical, for torch shifts int64 arithmetically
    return (z >> n) & ((1 << (64 - n)) - 1)


def keys(seed: int, *words: int | str, index: Tensor) -> Tensor:
    """Return `key(seed, *words, i)` for every i of `index` (int64), at once: int64 of the same shape."""
    z = _mix((seed + _GOLDEN) & _MASK)
    for w in words:
        z = _mix((z + _GOLDEN + (_word(w) if isinstance(w, str) else w)) & _MASK)
    out = index + _signed((z + _GOLDEN) & _MASK)  # int64 wraps around, as wanted
    out = (out ^ _shift(out, 30)) * _signed(_M1)
    out = (out ^ _shift(out, 27)) * _signed(_M2)
    return _shift(out ^ _shift(out, 31), 1)


def _distinct(base: int, index: Tensor) -> Tensor:
    """Return 32-bit numbers that look random and differ for different indices below 2^32.

    torch's CPU generator reads no more than 32 bits of its seed: of random ones, two of 50,000 may be equal.
    """
    low = (1 << 32) - 1
    z = index & low
    for word in (base & low, base >> 32):  # each round is a bijection (Appleby's finalizer)
        z = z ^ word
        z = ((z ^ (z >> 16)) * 0x85EBCA6B) & low
        z = ((z ^ (z >> 13)) * 0xC2B2AE35) & low
        z = z ^ (z >> 16)
    return z


def of_rank(drawn: Tensor, n: int, rank: tuple[int, int]) -> Tensor:
    """Return what was drawn for the n images of rank (r, ranks), of a draw for the images of all ranks.

    It may be of fewer than n images a rank: those behind them only fill the batch up, and are given the
    first ones again. So a draw does not depend on how many ranks there are.
    """
    if len(drawn) == n * rank[1]:
        return drawn[rank[0] * n : (rank[0] + 1) * n]
    return drawn[torch.arange(rank[0] * n, (rank[0] + 1) * n, device=drawn.device) % len(drawn)]


Draws = Callable[[int], Tensor]
"""draws(k): the k-th draw of standard normal noise, the same whenever it is asked for."""


class Noise:
    """The normal noise of a batch of images, each drawn for itself: the same image comes out of any batch,
    on any rank and any device, for it depends on (seed, image index, step) only.

    index: int64 (B,), the number of each image. Draws are float32 of `shape` (C, H, W), made on the CPU.
    """

    def __init__(
        self, seed: int, index: Tensor, shape: tuple[int, ...], device: torch.device | str = "cpu"
    ) -> None:
        self.seed, self.index, self.shape, self.device = seed, index.cpu(), tuple(shape), device
        self._generator = torch.Generator()

    def __call__(self, step: int) -> Tensor:
        """Draw the noise for `step` (0 is the start x_T), shape (B, *shape)."""
        out = torch.empty(len(self.index), *self.shape)
        seeds = _distinct(key(self.seed, "noise", step), self.index)
        for row, k in zip(out, seeds, strict=True):
            row.normal_(generator=self._generator.manual_seed(int(k)))
        return out.to(self.device)
