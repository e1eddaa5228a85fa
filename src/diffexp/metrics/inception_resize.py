"""How images come to the 299 pixels of the FID Inception.

tensorflow: bilinear between the nearest four pixels, corners not aligned, no antialias, as TensorFlow 1 and
torch-fidelity; large images alias. clean: bicubic with antialias, as Pillow, and not rounded (Parmar et al.
2022, clean-fid).
"""

from typing import Literal

from torch import Tensor
from torch.nn import functional as F

from diffexp.errors import ConfigError

Resize = Literal["tensorflow", "clean"]
SIDE = 299


def check_resize(resize: str) -> None:
    """Raise ConfigError for a resize that there is not."""
    if resize not in ("tensorflow", "clean"):
        do = "type tensorflow or clean"
        raise ConfigError(f"there is no resize {resize}", "metrics.extractor.resize", do)


def with_resize(name: str, resize: Resize) -> str:
    """Return the name of the extractor, which begins its keys: of another resize another."""
    return name if resize == "tensorflow" else f"{name}_{resize}"


def resized(images: Tensor, resize: Resize) -> Tensor:
    """Return images (B, 3, H, W) of 0 to 255, of any type, as float32 (B, 3, 299, 299) of 0 to 255."""
    if resize == "tensorflow":
        from torch_fidelity import interpolate_compat_tensorflow as like

        size = (SIDE, SIDE)
        return like.interpolate_bilinear_2d_like_tensorflow1x(images.float(), size=size, align_corners=False)
    # with antialias the cubic is Pillow's (a = -0.5), also where nothing is made smaller
    large = F.interpolate(images.float(), (SIDE, SIDE), mode="bicubic", align_corners=False, antialias=True)
    return large.clamp(0, 255)
