"""Functions that torch gives no types, with theirs."""

# pyright: reportUnknownMemberType=false

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor

ndtr = cast("Callable[[Tensor], Tensor]", torch.special.ndtr)
eigh = cast("Callable[[Tensor], tuple[Tensor, Tensor]]", torch.linalg.eigh)
solve = cast("Callable[[Tensor, Tensor], Tensor]", torch.linalg.solve)
unique = cast("Callable[[Tensor], Tensor]", torch.unique)
