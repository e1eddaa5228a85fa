"""How well an autoencoder gives images back, and what its latents are like.

    psnr  10 log10(255² / mean squared error) of each image, averaged; ssim: Wang et al. 2004
    kl    KL(q(z|x) ‖ N(0, 1)) in nats for each image
    bpd   the bound (kl − log P(x|z)) / (D log 2) of a Gaussian likelihood, of 8-bit images, z drawn
    a channel of z is active where its mean varies: Var(mean) > 0.01 (Var(mean) + E[variance])

Reconstructions are of the mean of z. The metrics of a MetricSet see them as they would see samples, with the
same reference and extractor: rfid is the ceiling of what diffusion in these latents can reach.
"""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from diffexp.codecs import Pixels
from diffexp.data.batch import Batch
from diffexp.data.dataset import DataSet
from diffexp.diffusion.bound import decoder as nats_of_pixels
from diffexp.metrics.distributed import summed
from diffexp.metrics.lpips import LPIPS
from diffexp.metrics.metric import Card
from diffexp.metrics.metric_set import MetricSet
from diffexp.networks.moments import draw, kl
from diffexp.randomness import Noise, key

ACTIVE = 0.01
MOST = 100.0  # dB, of an image that comes back without an error


def psnr(image: Tensor, back: Tensor) -> Tensor:
    """Return that of uint8 images (B, C, H, W), in dB, (B,); 100 where there is no error."""
    error = (image.double() - back.double()).square().flatten(1).mean(1)
    return (10 * (255**2 / error).log10()).clamp(max=MOST)


def ssim(image: Tensor, back: Tensor) -> Tensor:
    """Return that of uint8 images (B, C, H, W), (B,), in Gaussian windows of deviation 1.5; 0.5 where a side
    has less than 16 pixels.
    """
    from torchmetrics.functional.image import structural_similarity_index_measure

    sigma = 1.5 if min(image.shape[2:]) >= 16 else 0.5
    value = structural_similarity_index_measure(
        back.float(), image.float(), sigma=sigma, reduction="none", data_range=255.0
    )
    return torch.as_tensor(value).reshape(len(image))


@dataclass
class Reconstructions:
    """values by key, the card of each; latent: mean and std of each channel of z, and whether it is active;
    the first images and what came back, uint8 (P, C, H, W). evidence: what a comparison needs, of each image
    or part (see MetricSet.compute); pairing: what must be the same in another for its images to be.
    """

    values: dict[str, float]
    cards: dict[str, Card]
    latent: dict[str, list[Any]]
    images: Tensor
    back: Tensor
    evidence: dict[str, Tensor] = field(default_factory=dict[str, Tensor])
    pairing: dict[str, Any] = field(default_factory=dict[str, Any])


@dataclass
class _Sums:
    """Each value of `count` images by their numbers, 0 of those of other ranks; sums over images of each
    channel's mean, its square, its variance.
    """

    count: int
    values: dict[str, Tensor] = field(default_factory=dict[str, Tensor])
    channels: Tensor | None = None

    def add(self, index: Tensor, values: dict[str, Tensor], mean: Tensor, logvar: Tensor) -> None:
        for name, value in values.items():
            of_all = self.values.setdefault(name, torch.zeros(self.count, dtype=torch.float64))
            of_all[index] = value.double().cpu()
        parts = (torch.ones_like(mean), mean, mean.double().square(), logvar.double().exp())
        rows = torch.stack([part.double().sum((0, 2, 3)).cpu() for part in parts])
        self.channels = rows if self.channels is None else self.channels + rows

    def over_ranks(self) -> Tensor:
        assert self.channels is not None
        return summed(self.channels)[0]


class Measure:
    """Measures an autoencoder on the test split. metrics: of the reconstructions of its first metrics.n
    images; deviation: of a Gaussian likelihood, None for another, which has no bound; seed: of the draws of
    z.
    """

    def __init__(
        self,
        metrics: MetricSet,
        lpips: LPIPS | None = None,
        deviation: float | None = None,
        pictures: int = 20,
        seed: int = 0,
        batch_size: int = 250,
        arithmetic: Callable[[], AbstractContextManager[Any]] = nullcontext,
    ) -> None:
        self.metrics, self.lpips, self.deviation = metrics, lpips, deviation
        self.pictures, self.seed, self.batch_size = pictures, seed, batch_size
        self.arithmetic, self._pixels = arithmetic, Pixels()

    @torch.no_grad()
    def run(
        self,
        network: Any,
        data: DataSet,
        device: torch.device | str = "cpu",
        rank: tuple[int, int] = (0, 1),
        progress: Callable[[int, int], None] | None = None,
    ) -> Reconstructions:
        """Measure the images of this rank (rank, ranks), and sum over all: a collective call."""
        before, images = self._originals(data, rank), data.split("test")
        shown, count = list[tuple[Tensor, Tensor]](), len(images)
        sums = _Sums(count)
        for index in torch.arange(rank[0], count, rank[1]).split(self.batch_size):
            batch = images.batch(index)
            image = batch.image.to(device)
            with self.arithmetic():
                mean, logvar = (part.float() for part in network.moments(self._pixels.encode(image)))
                back = self._pixels.decode(network.decode(mean).float())
            sums.add(index, self._values(network, image, back, index, mean, logvar), mean, logvar)
            self._see(batch, back)
            if len(shown) * self.batch_size < self.pictures:
                shown.append((image.cpu(), back.cpu()))
            if progress is not None:
                progress(min(count, int(index[-1]) + 1), count)
        each = {name: summed(value)[0] for name, value in sums.values.items()}
        values, cards = _means(each, data.name)
        for name, value in self.metrics.compute().items():
            values[f"r{name}"] = value
            cards[f"r{name}"] = self.metrics.cards[name] | {"images": "test", "originals": before[name]}
        latent = latent_of(sums.over_ranks())
        values["active_channels"] = float(sum(latent["active"]))
        note = f"of {len(latent['active'])}: the mean of z has more than {ACTIVE:.0%} of its variance"
        cards["active_channels"] = {"n": count, "data": data.name, "split": "test", "note": note}
        first, back = (torch.cat(part)[: self.pictures] for part in zip(*shown, strict=True))
        evidence = {f"{name}/each": value for name, value in each.items()}
        evidence |= {f"r{name}": value for name, value in self.metrics.evidence.items()}
        # of the mean of z: there is no noise, and all images are asked for
        pairing = {"noise": None, "asked": data.fingerprint("test")[:12], "n": count}
        return Reconstructions(values, cards, latent, first, back, evidence, pairing)

    def _originals(self, data: DataSet, rank: tuple[int, int]) -> dict[str, float]:
        """Return what the metrics say of the same images as they are, and forget them."""
        images = data.split("test")
        self.metrics.reset()
        for index in torch.arange(rank[0], min(len(images), self.metrics.n), rank[1]).split(self.batch_size):
            batch = images.batch(index)
            self._see(batch, batch.image)
        values = self.metrics.compute()
        self.metrics.reset()
        return values

    def _see(self, batch: Batch, images: Tensor) -> None:
        """Show the metrics those of the first n images, with what the batch knows about them."""
        some = batch.index < self.metrics.n
        if self.metrics.metrics and some.any():
            texts = None if batch.text is None else batch.text[: int(some.sum())]  # they are in order
            labels = None if batch.label is None else batch.label[some]
            self.metrics.update(images[some.to(images.device)], labels, texts, batch.index[some])

    def _values(
        self, network: Any, image: Tensor, back: Tensor, index: Tensor, mean: Tensor, logvar: Tensor
    ) -> dict[str, Tensor]:
        """Return the values of each image, (B,)."""
        nats = kl(mean, logvar).flatten(1).sum(1)
        values = {"psnr": psnr(image, back), "ssim": ssim(image, back), "kl": nats}
        if self.lpips is not None:
            values["lpips"] = self.lpips(self._pixels.encode(back), self._pixels.encode(image))
        if self.deviation is not None:
            noise = Noise(key(self.seed, "bound"), index, tuple(mean.shape[1:]), mean.device)(0)
            with self.arithmetic():
                x_hat = network.decode(draw(mean, logvar, noise)).float()
            values["bpd"] = bound(self._pixels.encode(image), x_hat, nats, self.deviation)
        return values


def bound(x: Tensor, x_hat: Tensor, nats: Tensor, deviation: float) -> Tensor:
    """Return the bits/dim, (B,), of images x of 8 bits in [−1, 1]: under N(x̂, deviation²) in the bin of each
    value, and nats of z.
    """
    log_std = torch.tensor(math.log(deviation), dtype=torch.float64, device=x.device)
    pixels = nats_of_pixels(x.double(), x_hat.double(), log_std).flatten(1)
    return (pixels.sum(1) + nats) / (pixels.shape[1] * math.log(2))


def latent_of(channels: Tensor) -> dict[str, list[Any]]:
    """Return mean and std of each channel of z, and whether it is active. channels: sums over images and
    places of 1, the mean, its square and the variance, (4, L).
    """
    count, total, square, variance = channels
    mean = total / count
    between = square / count - mean.square()
    whole = between + variance / count
    active = between > ACTIVE * whole
    return {"mean": mean.tolist(), "std": whole.sqrt().tolist(), "active": active.tolist()}


def _means(each: dict[str, Tensor], name: str) -> tuple[dict[str, float], dict[str, Card]]:
    values = {key_: float(of_images.mean()) for key_, of_images in each.items()}
    cards = dict[str, Card]()
    for key_, of_images in each.items():
        n = len(of_images)
        error = float(of_images.std(correction=min(1, n - 1))) / math.sqrt(n)
        cards[key_] = {"n": n, "data": name, "split": "test", "standard_error": error}
    return values, cards
