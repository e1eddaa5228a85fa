"""Of which sizes, beside its own, a model can take images: as its network says by `side_multiple`."""

from collections.abc import Sequence
from typing import Any

from torch import nn

from diffexp.codecs import Autoencoded
from diffexp.conditioning import WithSize
from diffexp.errors import ConfigError
from diffexp.model.model import Model

MOST_SIDE = 1 << 14


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


def of_picture(model: Model, told: Sequence[int] | None, key: str) -> Model:
    """Return the same model, told of pictures (height, width, top, left); see Asked.size. key: where it was
    typed. Raises ConfigError for what is none, and for a model that is told nothing of pictures.
    """
    if told is None:
        return model
    numbers = tuple(told)
    if len(numbers) != 4 or any(isinstance(n, bool) or not 0 <= n <= MOST_SIDE for n in numbers):
        do = f"type height, width, and what is cut off above and left, as in {key}=[64,64,0,0]"
        raise ConfigError(f"{key}={list(told)} is no picture", key, do)
    if not isinstance(model.conditioning, WithSize):
        what = "this model was not trained with the sizes of its pictures"
        raise ConfigError(what, key, "leave it away, or train with conditioning=with_size")
    height, width, top, left = numbers
    return model.of_picture((height, width, top, left))


def of_size(model: Model, size: int | Sequence[int], key: str) -> Model:
    """Return the same model, of images of `size`: one number, or (H, W). key: where it was typed.

    Raises DiffexpError where its network or its autoencoder cannot make such.
    """
    both: tuple[Any, ...] = (size, size) if isinstance(size, int) else tuple(size)
    if len(both) != 2 or any(not isinstance(s, int) or isinstance(s, bool) or s < 1 for s in both):
        shown = size if isinstance(size, int) else list(size)
        do = f"type pixels, as in {key}=64, or height and width, as in {key}=[48,96]"
        raise ConfigError(f"{key}={shown} is no size", key, do)
    if max(both) > MOST_SIDE:
        raise ConfigError(f"{key}={max(both)} is more than {MOST_SIDE:,} pixels", key, "give less")
    height, width = both
    if (height, width) == model.shape[1:]:
        return model
    multiple = side_multiple(model)
    if height % multiple or width % multiple:
        near = [max(1, round(side / multiple)) * multiple for side in (height, width)]
        what = f"images of {height}x{width}, and this model makes sides that are multiples of {multiple}"
        raise ConfigError(what, key, f"type {key}=[{near[0]},{near[1]}]")
    check_codec(model, (height, width))
    return model.of_size(height, width)
