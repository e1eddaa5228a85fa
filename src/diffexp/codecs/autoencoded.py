"""Diffusion in the latents of a frozen autoencoder (Rombach et al. 2022).

    z ~ q(z|image) = N(mean, deviation²),   x = factor (z − centre),   image = decoder(x / factor + centre)

The factor is 1 / deviation of z over the training set, the centre the mean of each channel, measured once;
until then they are 1 and 0. Images go through the autoencoder in chunks of one size, filled up where there
are fewer, so that an image gives the same latents, bit for bit, in any batch.
"""

import hashlib
import math
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from diffexp.codecs.codec import Codec
from diffexp.codecs.pixels import check_finite, of_bytes, to_bytes
from diffexp.codecs.scale import Scale, measured
from diffexp.errors import ConfigError, DataError
from diffexp.notice import warn
from diffexp.randomness import Draws

Shape = tuple[int, int, int]
DECODER = ("decoder.", "from_latent.")
"""The beginnings of the names of what makes images of latents."""
FOLDER = "~/.cache/diffexp/latents"
_PIXELS, _IMAGES = 1 << 16, 64  # of a chunk, at most


class Gaussian(Protocol):
    """The network of an autoencoder."""

    def moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log variance of z, each (B, L, h, w), of images in [−1, 1]."""
        ...

    def decode(self, z: Tensor) -> Tensor:
        """Return images near [−1, 1]."""
        ...


class Autoencoded(Codec):
    """A codec of any autoencoder with a normal posterior; a class of its kind says what shape its latents
    have (`sized`), and `load`s the network.

    scale: of the latents: `all`, 1 / deviation of all of them; `channel`, of each channel; or a number.
    centre: whether the mean of each channel is taken away first; that of a given scale is not.
    cache: whether the latents of the images are made once and kept, in `folder`.
    """

    network: Any
    """The autoencoder, a module with the methods of Gaussian, after `load`."""
    digest: str = ""
    """The sha256 of all weights, and of what decides the latents beside them, after `load`."""
    factor: Tensor
    centre: Tensor

    def __init__(
        self,
        scale: Literal["all", "channel"] | float = "all",
        centre: bool = True,
        cache: bool = True,
        folder: str = FOLDER,
    ) -> None:
        super().__init__()
        if not isinstance(scale, str) and not 0 < scale < 1e9:
            raise ConfigError(f"scale={scale}", "codec.scale", "give a positive number, all or channel")
        self.kind, self.centred, self.cache, self.folder = scale, centre, cache, folder
        self.register_buffer("factor", torch.ones(1, 1, 1), persistent=False)
        self.register_buffer("centre", torch.zeros(1, 1, 1), persistent=False)
        self.scale: Scale | None = None
        self._fits: tuple[Shape, Shape] | None = None
        if not isinstance(scale, str):
            self._take(Scale([float(scale)], [0.0], [0.0], 0, 0, 0))

    @abstractmethod
    def sized(self, shape: Shape) -> tuple[Shape, Shape | None]:
        """Return the shape of z, (L, h, w), for images of that shape, and of which images the autoencoder was
        made, where that is known. Raises DiffexpError for images that it cannot take.
        """

    def latent(self, shape: Shape) -> Shape:
        shape = (int(shape[0]), int(shape[1]), int(shape[2]))
        if self._fits is None or self._fits[0] != shape:
            made, before = self.sized(shape)
            self._fits = shape, made
            if before not in (None, shape):
                first, now = (f"{height}x{width}" for _, height, width in (before, shape))
                what = f"the autoencoder was trained on images of {first}, and these are {now}: it takes them"
                do = "task=autoencoder init=RUN trains it on them"
                warn(f"{what}, but how well it gives them back is not measured; {do}")
        return self._fits[1]

    def put(self, network: nn.Module, about: str, decoder: Sequence[str] = DECODER) -> None:
        """Take the network that `load` has made; about: what decides its latents beside its weights; decoder:
        the beginnings of the names of those that decide images alone.

        Raises DataError for weights that are not finite.
        """
        digest, encoder = hashlib.sha256(about.encode()), hashlib.sha256(about.encode())
        for name, value in network.state_dict().items():
            if not value.isfinite().all():
                do = "train the autoencoder again, or take another checkpoint of it"
                what = f"the weights of the autoencoder are not finite: {name}"
                raise DataError(what, str(self.source), do)
            content = value.cpu().contiguous().view(-1).view(torch.uint8).numpy().data
            for each in (digest,) if name.startswith(tuple(decoder)) else (digest, encoder):
                each.update(f"\n{name} {tuple(value.shape)} {value.dtype}\n".encode())
                each.update(content)
        self.digest, self.of_latents = digest.hexdigest(), encoder.hexdigest()
        self.network = network.float().eval().requires_grad_(False)

    @torch.no_grad()
    def moments(self, image: Tensor) -> Tensor:
        """Return mean and deviation of z, (B, 2 L, h, w), of uint8 images. Raises DataError where they are
        not finite.
        """

        def of(part: Tensor) -> Tensor:
            mean, logvar = self.network.moments(of_bytes(part))
            return torch.cat([mean, (logvar / 2).exp()], 1)

        made = _in_chunks(of, image, image.shape[2] * image.shape[3])
        if bad := int((~made.isfinite()).flatten(1).any(1).sum()):
            do = "train the autoencoder again, with a higher weight of its KL term (autoencoder.kl)"
            what = f"the latents of {bad} of {len(image)} images are not finite"
            raise DataError(what, str(self.source), do)
        return made

    def encode(self, image: Tensor, noise: Draws | None = None) -> Tensor:
        return self.draw(self.moments(image), noise)

    def draw(self, latent: Tensor, noise: Draws | None = None) -> Tensor:
        """Return x of moments (B, 2 L, h, w): their mean, or a draw."""
        mean, deviation = latent.chunk(2, 1)
        z = mean if noise is None else mean + deviation * noise(0)
        return self.factor * (z - self.centre)

    @torch.no_grad()
    def decode(self, x: Tensor) -> Tensor:
        check_finite(x, do := "raise sampler.steps, or lower guidance.scale")
        pixels = math.prod(self._fits[0][1:]) if self._fits else _PIXELS
        image = _in_chunks(self.network.decode, x / self.factor + self.centre, pixels)
        check_finite(image, do)
        return to_bytes(image)

    @property
    def to_measure(self) -> bool:
        """True where the scale is of the training images, and not known yet."""
        return self.scale is None

    def measure(self, moments: Iterable[Tensor]) -> None:
        """Find the scale, of the moments of all training images.

        Raises DataError for an autoencoder whose latents say nothing of the images.
        """
        do = "train an autoencoder with a lower weight of its KL term (autoencoder.kl)"
        try:
            scale = measured(moments, self.kind == "channel", self.centred)
        except ZeroDivisionError:
            what = "the latents of all images are the same (deviation below 1e-6), so they have no scale"
            raise DataError(what, str(self.source), do) from None
        dead = f"{scale.dead} of {scale.channels} channels of the latents are dead: they say nothing"
        if scale.dead == scale.channels:
            raise DataError(f"{dead} of the images (posterior collapse)", str(self.source), do)
        if scale.dead:
            warn(f"{dead} of the images (posterior collapse); {do}")
        self._take(scale)

    def _take(self, scale: Scale) -> None:
        self.scale = scale
        device = self.factor.device
        self.factor = torch.tensor(scale.factor, device=device).view(-1, 1, 1)
        self.centre = torch.tensor(scale.mean, device=device).view(-1, 1, 1)

    def learned(self) -> dict[str, Any]:
        if self.scale is None:
            return {}
        return self.scale._asdict() | ({"latent": list(self._fits[1])} if self._fits else {})

    def remember(self, learned: Mapping[str, Any]) -> None:
        try:
            scale = Scale.of(learned)
        except ValueError as error:
            what = f"the scale of the latents is damaged: {error}"
            raise DataError(what, "codec", "use another checkpoint of the run") from error
        channels = self._fits[1][0] if self._fits else 1
        if not {len(scale.factor), len(scale.mean)} <= {1, channels}:
            most = max(len(scale.factor), len(scale.mean))
            what = f"the scale is of {most} channels, and the latents have {channels}"
            raise DataError(what, "codec", "type codec= and its file as the run was trained with them")
        self._take(scale)

    def card(self) -> dict[str, Any]:
        return {"autoencoder": self.digest[:12]}


def _in_chunks(of: Callable[[Tensor], Tensor], x: Tensor, pixels: int) -> Tensor:
    """Return what a function of a batch makes of each part of x, in float32; pixels: of an image."""
    size = max(1, min(_IMAGES, _PIXELS // pixels))
    made = list[Tensor]()
    with torch.autocast(x.device.type, enabled=False):
        for i in range(0, len(x), size):
            part = x[i : i + size]
            fill = part[-1:].repeat(size - len(part), 1, 1, 1)
            made.append(of(torch.cat([part, fill]))[: len(part)])
    return torch.cat(made)
