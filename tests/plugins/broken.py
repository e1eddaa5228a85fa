"""Parts that do something else than they have to."""

import torch

from diffexp.codecs import Pixels
from diffexp.condition import Condition
from diffexp.diffusion import ClassifierFree
from plugins.words import Words


class BrokenCodec(Pixels):
    """how: what it does wrong."""

    def __init__(self, how: str = "size") -> None:
        super().__init__()
        self.how = how

    def encode(self, image, noise=None):
        x = super().encode(image, noise)
        return x.double() if self.how == "double" else x

    def decode(self, x):
        image = super().decode(x)
        if self.how == "error":
            raise ValueError("no decoder here")
        return image[..., :-1] if self.how == "size" else image.float() if self.how == "float" else image


class BrokenWords(Words):
    """how: what it does wrong."""

    def __init__(self, dropout: float = 0.1, how: str = "null") -> None:
        super().__init__(dropout=dropout)
        self.how = how

    def encode(self, asked):
        made = super().encode(asked)
        return made[torch.arange(1)] if self.how == "rows" else made

    def null(self, asked):
        return Condition(label=torch.zeros(len(asked)).long()) if self.how == "null" else super().null(asked)

    def keep(self, n, generator):
        return torch.ones(n + 1, dtype=torch.bool) if self.how == "keep" else super().keep(n, generator)


class BrokenGuidance(ClassifierFree):
    """It gives a tensor where a prediction has to be."""

    def wrap(self, model):
        return lambda x, t, cond=None: x
