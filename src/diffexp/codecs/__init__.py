"""The space in which diffusion works, and the way between it and images. Imports torch only."""

from diffexp.codecs.autoencoded import Autoencoded
from diffexp.codecs.codec import Codec
from diffexp.codecs.pixels import Pixels, check_finite

__all__ = ["Autoencoded", "Codec", "Pixels", "check_finite"]
