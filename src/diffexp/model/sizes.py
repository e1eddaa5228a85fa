"""Of which sizes, beside its own, a model can take images: as its network says by `side_multiple`."""

from torch import nn

from diffexp.codecs import Autoencoded
from diffexp.errors import ConfigError
from diffexp.model.model import Model


def side_multiple(model: Model) -> int:
    """Return the number of which the sides of an image have to be multiples, in pixels.

    Raises ConfigError for a model that takes images of its own size alone.
    """
    known = [_of(part) for part in (model.denoiser.network, *model.helpers.values())]
    if None in known:
        one = "x".join(map(str, model.shape[1:]))
        what = f"this network, or what guides it, takes images of one size alone, {one}"
        raise ConfigError(what, "network", "take a UNet, as network=unet_auto, or images of one size")
    return max(number or 1 for number in known) * (model.shape[1] // model.latent_shape[1])


def _of(part: nn.Module) -> int | None:
    """Return what the first network of a part says."""
    said = (getattr(module, "side_multiple", None) for module in part.modules())
    return next((multiple for multiple in said if isinstance(multiple, int)), None)


def check_codec(model: Model, size: tuple[int, int]) -> None:
    """Raise DiffexpError where the autoencoder cannot take images of this size (H, W)."""
    if isinstance(model.codec, Autoencoded):
        model.codec.sized((model.shape[0], *size))
