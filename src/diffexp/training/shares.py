"""The loss of the images of each part of a mixture (data=mix): sums since they were last logged."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

OverRanks = Callable[[Tensor], Tensor]


class Shares:
    """Sums of the loss and numbers of images, (K, 2), of K parts by name."""

    def __init__(self, names: Sequence[str] = (), sums: Tensor | None = None) -> None:
        self.names, self.sums = list(names), sums

    @staticmethod
    def of(state: Any, rank: int = 0) -> "Shares":
        """Return what `state` has returned, on the first rank: they are the sums of all. None of a version
        that had none. Raises ValueError for what it cannot have returned.
        """
        if state is None:
            return Shares()
        names, sums = (state.get("names"), state.get("sums")) if isinstance(state, Mapping) else (None, None)
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ValueError("the names of the parts of the mixture are no names")
        if not isinstance(sums, Tensor) or not sums.is_floating_point() or sums.shape != (len(names), 2):
            raise ValueError(f"the sums of the parts of the mixture are not {len(names)} pairs")
        return Shares(names, sums if rank == 0 else torch.zeros_like(sums))

    def state(self, over_ranks: OverRanks) -> dict[str, Any] | None:
        """Return the sums of all ranks, None where there is no mixture."""
        return None if self.sums is None else {"names": self.names, "sums": over_ranks(self.sums.clone())}

    def add(self, each: Tensor, part: Tensor, names: Sequence[str]) -> None:
        """Add the losses of images, (B,), by the number of the part of each."""
        rows = torch.stack([each.detach().double(), torch.ones_like(each, dtype=torch.float64)], 1)
        sums = rows.new_zeros(len(names), 2).index_add_(0, part, rows)
        known = self.sums is not None and self.names == list(names)
        self.names, self.sums = list(names), sums + self.sums.to(sums) if known else sums  # type: ignore

    def means(self, over_ranks: OverRanks, taken: Mapping[str, float]) -> dict[str, float]:
        """Return train/loss_NAME of each part that was seen, over all ranks. taken: the keys of others."""
        if self.sums is None:
            return {}
        keys = [f"train/loss_{name}" for name in self.names]
        keys = [f"train/loss_mix_{n}" if k in taken else k for k, n in zip(keys, self.names, strict=True)]
        rows = zip(keys, over_ranks(self.sums).tolist(), strict=True)
        return {key: total / count for key, (total, count) in rows if count}
