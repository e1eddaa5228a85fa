"""Of which metrics more is better, of which less, and of which neither."""

import re
from collections.abc import Mapping
from typing import Any, Literal

Better = Literal["higher", "lower", "neither"]

_HIGH = (
    "accuracy",
    "precision",
    "recall",
    "density",
    "coverage",
    "inception_score",
    "clip_score",
    "right",
    "similarity",
    "authpct",
)
HIGHER = (*_HIGH, *(f"r{name}" for name in _HIGH), "psnr", "ssim", "active_channels")  # r: reconstructed
VOTES = ("win_rate", "bradley_terry", "mos")
_LOW = (
    "fid",
    "fid_inf",
    "fid_std",
    "kid",
    "kid_std",
    "cmmd",
    "lpips",
    "swapped",
    "copies",
    "drift",
    "drift_pairs",
)
LOWER = (*_LOW, *(f"r{name}" for name in _LOW), "loss", "bpd", "mse")
NEUTRAL = ("kl",)
"""What has no better direction: the divergence of latents, of which less leaves less in them."""
KEYS = (*_HIGH, *_LOW)
"""How the keys of what is measured of samples begin, before the name of an extractor."""

_LOWER = re.compile(rf"({'|'.join(LOWER)})(?![a-z])")


def direction(metric: str, card: Mapping[str, Any] | None = None) -> Better:
    """Return which is better, by the card of a number (`better`: higher, lower or neither), or else by its
    key, which may begin with "val/". What is not known is not ranked.
    """
    told = (card or {}).get("better")
    if told in ("higher", "lower", "neither"):
        return told
    name = re.sub(r"^(val|train|final)/", "", metric)
    if name.partition("@")[0] in NEUTRAL:
        return "neither"
    if better_high(name):
        return "higher"
    return "lower" if _LOWER.match(name) else "neither"


def better_high(metric: str) -> bool:
    """Return whether more of a metric is better, by its key, which may begin with "val/"."""
    return metric.removeprefix("val/").startswith((*HIGHER, *VOTES))
