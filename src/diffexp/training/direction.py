"""Of which metrics more is better, and of which neither more nor less."""

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


NEUTRAL = ("kl",)
"""What has no better direction: the divergence of latents, of which less leaves less in them. Nor has C_T,
which is best at 0."""


def neutral(metric: str) -> bool:
    """Return whether neither more nor less of a metric is better, by its key."""
    key = metric.rpartition("/")[2].partition("@")[0]
    return key in NEUTRAL or key.startswith("c_t_")


def which_is_better(metric: str) -> str:
    """Return the direction of a metric in words."""
    which = "neither" if neutral(metric) else "higher" if better_high(metric) else "lower"
    return f"{which} is better"


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
KEYS = (*_HIGH, *_LOW)
"""How the keys of what is measured of samples begin, before the name of an extractor."""


def better_high(metric: str) -> bool:
    """Return whether more of a metric is better, by its key, which may begin with "val/"."""
    return metric.removeprefix("val/").startswith((*HIGHER, *VOTES))
