"""What a codec with an autoencoder needs of the images before a training: its scale, and their latents."""

import shutil
from collections.abc import Iterator

import torch
from torch import Tensor

from diffexp.codecs import Autoencoded, Codec
from diffexp.data.dataset import SplitName
from diffexp.data.latents import Latents, Rows, bytes_of, kept
from diffexp.errors import ResourceError
from diffexp.hub import at
from diffexp.notice import chosen
from diffexp.progress import counting
from diffexp.training.data_module import DataModule

SPLITS: tuple[SplitName, ...] = ("train", "val")


def check_room_for_latents(codec: Codec, loader: DataModule) -> None:
    """Raise ResourceError where the latents of the images have no room on the disk."""
    if not isinstance(codec, Autoencoded) or not codec.cache:
        return
    shape, there = _moments(codec, loader), at(codec.folder)
    while not there.exists():
        there = there.parent
    images = len(loader.data.split("train")) * (2 if loader.flip else 1) + len(loader.data.split("val"))
    needed, free = bytes_of(images, shape), shutil.disk_usage(there).free
    if needed > free:
        what = f"the latents of {images:,} images have {needed >> 20:,} MB, and {free >> 20:,} MB are free"
        do = "type codec.cache=false, or codec.folder=FOLDER for another place"
        raise ResourceError(what, codec.folder, do)


def encode_ahead(codec: Codec, loader: DataModule, device: torch.device, known: bool) -> None:
    """Make the latents of the training and validation images, or find them, and hand them to the loader; then
    have the codec measure its scale on the training images. known: a checkpoint has that.

    Raises DiffexpError.
    """
    if not isinstance(codec, Autoencoded):
        return
    codec.to(device)
    if codec.cache:
        loader.latents = {split: _latents(codec, loader, split, device) for split in SPLITS}
    if known or not codec.to_measure:
        return
    latents = loader.latents.get("train")
    codec.measure(latents.rows.all() if latents is not None else _made(codec, loader, device))
    assert codec.scale is not None
    each = ", ".join(f"{f:.4g} ± {e:.1g}" for f, e in zip(codec.scale.factor, codec.scale.error, strict=True))
    chosen(f"latents are multiplied with {each}, for unit deviation over {codec.scale.images:,} images")


def _moments(codec: Autoencoded, loader: DataModule) -> tuple[int, int, int]:
    channels, height, width = codec.latent(loader.shape)
    return 2 * channels, height, width


def _latents(codec: Autoencoded, loader: DataModule, split: SplitName, device: torch.device) -> Latents:
    images = loader.data.split(split)

    def rows(mirror: bool) -> Rows:
        about = {
            "data": loader.data.name,
            "split": split,
            "images": loader.data.fingerprint(split),
            "autoencoder": codec.digest,
            "device": device.type,
        }
        moments, folder = _moments(codec, loader), at(codec.folder)
        return kept(
            images, moments, lambda x: codec.moments(x.to(device)), folder, about, mirror, loader.workers
        )

    return Latents(images, rows(False), rows(True) if loader.flip and split == "train" else None)


def _made(codec: Autoencoded, loader: DataModule, device: torch.device) -> Iterator[Tensor]:
    """Yield the moments of all training images, which are not kept."""
    count, done = len(loader.data.split("train")), 0
    with counting("measuring the scale of the latents") as progress:
        for batch in loader.data.batches("train", 256, loader.workers):
            yield codec.moments(batch.image.to(device))
            done += len(batch.image)
            progress(done, count)
