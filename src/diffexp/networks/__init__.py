"""Networks: (x, t, cond) -> F, and nothing of diffusion. Imports torch only."""

from diffexp.networks.unet import UNet

__all__ = ["UNet"]
