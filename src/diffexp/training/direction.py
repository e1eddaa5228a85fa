"""Of which metrics more is better."""

_HIGH = ("accuracy", "precision", "recall", "density", "coverage", "inception_score", "clip_score", "right")
HIGHER = (*_HIGH, *(f"r{name}" for name in _HIGH), "psnr", "ssim", "active_channels")  # r: reconstructed
VOTES = ("win_rate", "bradley_terry", "mos")


def better_high(metric: str) -> bool:
    """Return whether more of a metric is better, by its key, which may begin with "val/"."""
    return metric.removeprefix("val/").startswith((*HIGHER, *VOTES))
