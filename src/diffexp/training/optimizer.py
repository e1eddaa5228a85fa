"""The optimizer of what is trained, with a learning rate of their own for some weights."""

from collections.abc import Callable, Sequence

from torch import nn
from torch.optim import Optimizer

Groups = Sequence[tuple[list[nn.Parameter], float]]


def optimizer_of(make: Callable[..., Optimizer], groups: Groups, others: list[nn.Parameter]) -> Optimizer:
    """Return the optimizer of groups of weights, each with the factor of its rate, and of others."""
    if all(factor == 1 for _, factor in groups):
        return make([*(p for part, _ in groups for p in part), *others])
    optimizer = make([{"params": part} for part in (*(part for part, _ in groups), others) if part])
    for group, (_, factor) in zip(optimizer.param_groups, groups, strict=False):
        group["lr"] *= factor
    return optimizer
