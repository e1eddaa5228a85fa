"""The picture of an autoencoder: images, what came back, and their difference."""

from pathlib import Path

import torch
from torch import Tensor

from diffexp.codecs import Pixels
from diffexp.metrics.reconstruction import Reconstructions
from diffexp.pictures import grid, save
from diffexp.randomness import Noise, key
from diffexp.training.autoencoder_module import AutoencoderModule

ROW = 10
STRONGER = 4  # times, for a difference of a few levels is seen by nobody


def difference(image: Tensor, back: Tensor) -> Tensor:
    """Return uint8 images, grey where the two are equal, brighter where what came back is brighter."""
    return (128 + STRONGER * (back.int() - image.int())).clamp(0, 255).to(torch.uint8)


@torch.no_grad()
def priors(module: AutoencoderModule) -> Tensor:
    """Return the images of ten z of the prior, uint8: samples of a variational autoencoder."""
    z = Noise(key(module.seed, "prior"), torch.arange(ROW), module.latent_shape, module.device)(0)
    with module.arithmetic():
        return Pixels().decode(module.averaged().decode(z).float()).cpu()


def draw(measured: Reconstructions, title: str, path: Path, prior: Tensor | None = None) -> None:
    """Write rows of images, of what came back, and of the difference; prior: a row of samples below."""
    parts, labels = list[Tensor](), list[str]()
    for image, back in zip(measured.images.split(ROW), measured.back.split(ROW), strict=True):
        parts += [image, back, difference(image, back)]
        for name in ("original", "reconstruction", f"difference, {STRONGER} times"):
            labels += [name] * len(image)
    if prior is not None:
        parts, labels = [*parts, prior], [*labels, *["of the prior"] * len(prior)]
    save(grid(torch.cat(parts), labels, columns=ROW, title=title), path)
