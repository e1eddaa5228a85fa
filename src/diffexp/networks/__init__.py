"""Networks: (x, t, cond) -> F, and nothing of diffusion. Imports torch only."""

from diffexp.networks.autoencoder import Autoencoder
from diffexp.networks.sized import sized_unet
from diffexp.networks.sized_autoencoder import sized_autoencoder
from diffexp.networks.unet import UNet
from diffexp.networks.vae import VAE

__all__ = ["VAE", "Autoencoder", "UNet", "sized_autoencoder", "sized_unet"]
