from diffexp.networks.unet import UNet

__all__ = ["UNet"]
