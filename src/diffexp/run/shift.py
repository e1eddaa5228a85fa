"""snr.shift=auto: the shift of the schedule for the size of the images."""

from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from diffexp.data import DataSet
from diffexp.diffusion.resolution import SIDE, shift_of
from diffexp.errors import ConfigError
from diffexp.notice import chosen
from diffexp.run.job import Job


def settle_shift(cfg: DictConfig) -> None:
    """Put the number in place of snr.shift=auto, and say it. Raises DiffexpError."""
    snr = cfg.get("snr")
    if not isinstance(snr, DictConfig) or snr.get("shift") != "auto":
        return
    config = cast("dict[str, Any]", OmegaConf.to_container(cfg, resolve=True))
    if not str((config.get("codec") or {}).get("_target_")).endswith(".Pixels"):
        do = "type a number: SD3 takes 3 for latents of 128x128"
        raise ConfigError("snr.shift=auto is for images in pixels, and these are latents", "snr.shift", do)
    data: DataSet = Job(config, Path()).build("data")
    snr.shift = shift = shift_of(data.shape)
    size = "x".join(map(str, data.shape[1:]))
    why = f"not larger than {SIDE}x{SIDE}" if shift == 1 else f"√pixels / {SIDE}"
    chosen(f"snr.shift={shift:.4g} for images of {size}: {why}")
