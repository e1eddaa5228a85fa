"""What cannot be trained in aspect buckets is refused before anything is."""

from math import ceil

from diffexp.codecs import Autoencoded
from diffexp.errors import ConfigError
from diffexp.model.model import Model
from diffexp.model.sizes import check_codec, side_multiple
from diffexp.training.data_module import DataModule


def check_buckets(model: Model, loader: DataModule) -> None:
    """Raise DiffexpError where the data has buckets, and the model cannot take their sizes."""
    images = loader.data.bucketed("train")
    if images is None:
        return
    if isinstance(model.codec, Autoencoded) and model.codec.cache:
        what = "latents are kept of images of one size, and these are in buckets"
        raise ConfigError(what, "codec.cache", "type codec.cache=false")
    multiple = side_multiple(model)
    if any(side % multiple for size in images.sorted.sizes for side in size):
        step = ceil(max(images.step, multiple) / multiple) * multiple
        what = (
            f"data.buckets.step={images.step}, and this network takes sides that are multiples of {multiple}"
        )
        raise ConfigError(what, "data.buckets.step", f"type data.buckets.step={step}")
    for size in images.sorted.used:
        check_codec(model, size)


def refuse_buckets(loader: DataModule, what: str) -> None:
    """Raise ConfigError where the data has buckets; what: takes images of one size."""
    if loader.data.bucketed("train") is not None:
        raise ConfigError(f"{what} takes images of one size", "data.buckets", "type data=folder")
