"""A model: a denoiser, what it is told, and the space in which it works. All that sampling needs."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor, nn

from diffexp.codecs import Codec
from diffexp.condition import Asked, Condition
from diffexp.conditioning import Conditioning
from diffexp.diffusion.clip import Clip, Clipped, Dynamic, NoClip, Quantile
from diffexp.diffusion.denoiser import Denoise, Denoiser
from diffexp.diffusion.guidance import Guidance, Guide

Shape = tuple[int, int, int]


def with_source(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield the parts that have weights from a file, and their names."""
    parts = cast("Iterator[tuple[str, nn.Module]]", model.named_modules())  # torch gives it no type
    for name, part in parts:
        if getattr(part, "source", None) is not None:
            yield name, part


def of_files(model: nn.Module) -> frozenset[str]:
    """Return the names of the weights without a gradient, and of the buffers, of parts with a `source`."""
    return frozenset(
        key
        for name, part in with_source(model)
        for key, value in part.state_dict(prefix=f"{name}.", keep_vars=True).items()
        if not value.requires_grad
    )


class Model(nn.Module):
    """shape: (C, H, W) of the images; class_names: of the labels, or None where the data has none; helpers:
    what a guidance needs beside it, by name; weights: which they are, for the cards of metrics.

    of_files: the names of the weights that come from files of their own (model/trainable.py).
    """

    of_files: frozenset[str]
    told: tuple[int, int, int, int] | None = None
    """Of which part of which picture an image is where nobody says it (Asked.size, but for its own sides);
    None for a picture of its size.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        conditioning: Conditioning,
        codec: Codec,
        shape: Shape,
        class_names: tuple[str, ...] | None = None,
        helpers: Mapping[str, nn.Module] | None = None,
        weights: str = "as given",
    ) -> None:
        super().__init__()
        self.denoiser, self.conditioning, self.codec = denoiser, conditioning, codec
        self.shape, self.class_names, self.weights = shape, class_names, weights
        self.beside = nn.ModuleDict(helpers)
        self.note()

    def note(self) -> None:
        """See which weights come from files, while it can be seen: whoever samples freezes all of them."""
        self.codec.requires_grad_(False).eval()
        self.of_files = of_files(self)

    def train(self, mode: bool = True) -> "Model":
        super().train(mode)
        self.codec.eval()
        return self

    @property
    def helpers(self) -> dict[str, nn.Module]:
        """The networks that a guidance needs beside the model, by name."""
        return dict(self.beside.items())

    @property
    def latent_shape(self) -> Shape:
        """(C, H, W) of what the network sees."""
        return self.codec.latent(self.shape)

    def latent_of(self, height: int, width: int) -> Shape:
        """Return (C, H, W) of what the network sees of an image of another size."""
        (channels, high, wide), (_, whole, across) = self.latent_shape, self.shape
        return channels, height * high // whole, width * wide // across

    @property
    def precision(self) -> str:
        """The precision of the network: float32, or that of its autocast."""
        return str(self.denoiser.autocast or torch.float32).removeprefix("torch.")

    @property
    def guidable(self) -> bool:
        """True where it was trained with and without its condition."""
        return self.conditioning.guidable

    def check(self) -> None:
        """Raise DiffexpError where something is missing that `load` needs."""
        self.conditioning.check()
        self.codec.check()

    def load(self) -> None:
        """Read the weights that come from files of their own, once, after every check."""
        self.conditioning.load()
        self.codec.load()
        self.note()

    def helped(self, helpers: Mapping[str, nn.Module]) -> "Model":
        """Return the same model with these helpers in place of its own."""
        return self._like(self.shape, helpers)

    def of_size(self, height: int, width: int) -> "Model":
        """Return the same model, of images of another size (see model/sizes.py)."""
        return self._like((self.shape[0], height, width), self.helpers)

    def of_picture(self, told: tuple[int, int, int, int] | None) -> "Model":
        """Return the same model, which is told this of the picture where nobody says it."""
        model = self._like(self.shape, self.helpers)
        model.told = told
        return model

    def _like(self, shape: Shape, helpers: Mapping[str, nn.Module]) -> "Model":
        model = Model(
            self.denoiser, self.conditioning, self.codec, shape, self.class_names, helpers, self.weights
        )
        model.of_files, model.told = self.of_files, self.told
        return model

    def _picture(self, n: int) -> Tensor:
        """Return Asked.size of n images where nobody says it."""
        sides = self.shape[1:]
        told = self.told or (*sides, 0, 0)
        device = next((weight.device for weight in self.parameters()), None)
        return torch.tensor([[*told, *sides]], device=device).expand(n, -1)

    def condition(self, asked: Asked | None, guided: bool = False) -> Condition | None:
        """Return the condition of what is asked for; guided: with what guidance goes away from.

        Raises ConfigError where something is missing.
        """
        if asked is None:
            return None
        if asked.size is None:
            asked = replace(asked, size=self._picture(len(asked)))
        made = self.conditioning.encode(asked)
        if made is None or not guided:
            return made
        guides = {name: part for name, part in self.helpers.items() if isinstance(part, Guide)}
        others = {name: guide.condition(asked) for name, guide in guides.items()}
        return replace(made, null=self.conditioning.null(asked), others=others or None)

    def remarks(self, asked: Asked) -> list[str]:
        """Return lines to say of what is asked for: what it, or a guide beside it, does not know or cuts."""
        guides = [part for part in self.helpers.values() if isinstance(part, Guide)]
        lines = self.conditioning.remarks(asked)
        return lines + [f"{g.name}: {line}" for g in guides for line in g.conditioning.remarks(asked)]

    def denoise(
        self, guidance: Guidance, clip: Clip, asked: Asked | None
    ) -> tuple[Denoise, Condition | None]:
        """Return the denoiser under guidance, clipped after it, and the condition for it."""
        denoise = Clipped(guidance.wrap(self), self.denoiser.schedule, self.clip(clip))
        return denoise, self.condition(asked, guided=guidance.scale != 1)

    def clip(self, clip: Clip) -> Clip:
        """Return how x̂0 is clipped: as asked for where it is an image; in a latent space, which has no range,
        not at all, or at the quantile of clip=dynamic.
        """
        if self.codec.pixels:
            return clip
        return Quantile(clip.quantile) if isinstance(clip, Dynamic) else NoClip()
