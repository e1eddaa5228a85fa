"""Crops, and the sizes of pictures: what cannot be trained with them is refused before anything is."""

from diffexp.codecs import Autoencoded
from diffexp.conditioning import WithSize
from diffexp.errors import ConfigError
from diffexp.model.model import Model
from diffexp.training.data_module import DataModule


def check_pictures(model: Model, loader: DataModule) -> None:
    """Raise ConfigError where the network is to be told the sizes of pictures and nobody says them, or kept
    latents have no other crops.
    """
    told = isinstance(model.conditioning, WithSize)
    if told and not loader.data.tells_size:
        what = f"the data does not say of which pictures its images are ({loader.data.name})"
        raise ConfigError(what, "conditioning=with_size", "take data=folder or data=buckets")
    kept = isinstance(model.codec, Autoencoded) and model.codec.cache
    if kept and (told or loader.data.draws_crops):
        what = "the sizes of pictures are not kept" if told else "one crop of each picture is kept"
        raise ConfigError(f"{what} with the latents", "codec.cache", "type codec.cache=false")
