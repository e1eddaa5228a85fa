"""Networks: (x, t, cond) -> F, and nothing of diffusion. Imports torch only."""

from diffexp.networks.sized import sized_unet
from diffexp.networks.unet import UNet

__all__ = ["UNet", "sized_unet"]
