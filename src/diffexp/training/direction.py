"""Of which metrics more is better."""

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
)
HIGHER = (*_HIGH, *(f"r{name}" for name in _HIGH), "psnr", "ssim", "active_channels")  # r: reconstructed

_LOW = ("fid", "fid_inf", "fid_std", "kid", "kid_std", "cmmd", "lpips", "swapped", "drift", "drift_pairs")
KEYS = (*_HIGH, *_LOW)
"""How the keys of what is measured of samples begin, before the name of an extractor."""


def better_high(metric: str) -> bool:
    """Return whether more of a metric is better, by its key, which may begin with "val/"."""
    return metric.removeprefix("val/").startswith(HIGHER)
