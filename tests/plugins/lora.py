"""Small additions to the network of a run, which stays as it is. Hu et al. 2022."""

import torch
from torch import Tensor, nn

import diffexp
from diffexp.condition import Condition
from diffexp.errors import ConfigError


class Adapted(nn.Module):
    """A layer, and beside it up·down, which starts at 0."""

    def __init__(self, layer: nn.Linear, rank: int) -> None:
        super().__init__()
        self.layer = layer
        self.down = nn.Parameter(torch.randn(rank, layer.in_features) / rank)
        self.up = nn.Parameter(torch.zeros(layer.out_features, rank))

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) + x @ self.down.T @ self.up.T


class LoRA(nn.Module):
    """base: a run whose linear layers are adapted; plugins: packages of your own that it is made of."""

    def __init__(
        self, image_size: int | tuple[int, int], in_channels: int, out_channels: int, base: str,
        num_classes: int | None = None, rank: int = 2, plugins: tuple[str, ...] = (),
    ) -> None:  # fmt: skip
        super().__init__()
        self.source = base  # what is not trained here is of that file
        model = diffexp.load(base, plugins=plugins)  # its weights have no gradient
        told = model.conditioning.network().get("num_classes")
        if model.latent_shape[0] != in_channels or told != num_classes:
            raise ConfigError("the base is of other images or classes", "network.base", "give another run")
        self.network = model.denoiser.network
        for part in list(self.network.modules()):
            for name, child in list(part.named_children()):
                if isinstance(child, nn.Linear):
                    setattr(part, name, Adapted(child, rank))

    def forward(self, x: Tensor, t: Tensor, cond: Condition | None = None) -> Tensor:
        return self.network(x, t, cond)
