"""What a codec does: it leads from the images of the data to the space in which diffusion works, and back."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from diffexp.randomness import Draws


class Codec(nn.Module):
    """A module, for it may have weights. They are never trained (the model takes their gradients away, and
    keeps them in eval mode), and come from a file of their own, whose path is `source`: `load` reads it, and
    no checkpoint of a run holds them, but a digest. Constructing one is cheap: it is done for checks.
    """

    pixels: bool = False
    """Whether x is an image of 8 bits in [−1, 1]: clipping, the variational bound and LPIPS ask this."""
    source: str | None = None
    """The file of the weights, None for a codec without."""
    of_latents: str = ""
    """A digest of all that decides x of an image, after `load`: where it is the same, another decoder may
    take the place of this one. "": only the whole codec is known.
    """

    def __init__(self) -> None:
        super().__init__()

    def latent(self, shape: tuple[int, int, int]) -> tuple[int, int, int]:
        """Return the shape of x, (C, H, W), for images of that shape. Raises ConfigError for one that cannot
        be.
        """
        return shape

    def check(self) -> None:
        """Raise DiffexpError where something is missing that `load` needs; quickly, before any work."""

    def load(self) -> None:
        """Read what is heavy, once, after every check."""

    def learned(self) -> dict[str, Any]:
        """Return what was measured of the training images, as plain values: a checkpoint holds it."""
        return {}

    def remember(self, learned: Mapping[str, Any]) -> None:
        """Take what `learned` has returned, out of a checkpoint. Raises DataError."""

    def card(self) -> dict[str, Any]:
        """Return what belongs to the protocol of each number that is measured in this space."""
        return {}

    def ceiling(self, metric: str) -> dict[str, Any]:
        """Return what goes to the card of a metric beside that: what it is of images that were encoded and
        decoded alone, which no samples can beat by much.
        """
        return {}

    def encode(self, image: Tensor, noise: Draws | None = None) -> Tensor:
        """Return x, float32 near unit scale, of uint8 images (B, C, H, W).

        noise: for a codec with a distribution of x, of which it draws in training, of the shape of x; None:
        its mean.
        """
        raise NotImplementedError

    def draw(self, latent: Tensor, noise: Draws | None = None) -> Tensor:
        """Return x of what lies ready of images in its place (Batch.latent): x itself, or a distribution."""
        return latent

    def decode(self, x: Tensor) -> Tensor:
        """Return the images of x, uint8. Raises DivergedError for x that is not finite."""
        raise NotImplementedError
