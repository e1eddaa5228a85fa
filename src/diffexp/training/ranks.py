"""Gradients of several ranks, for a module that steps its optimizers itself."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn


def average_gradients(parameters: Iterable[nn.Parameter], over_ranks: Callable[[Tensor], Tensor]) -> None:
    """Replace the gradients by their means over the ranks, all in one call. over_ranks: averages a tensor."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = over_ranks(torch.cat([gradient.flatten() for gradient in gradients]))
    means = flat.split([gradient.numel() for gradient in gradients])
    for gradient, mean in zip(gradients, means, strict=True):
        gradient.copy_(mean.view_as(gradient))
