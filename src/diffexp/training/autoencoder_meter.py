"""Means of named values since they were last logged, summed on the device, read when logged."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor


class Means:
    """Sums of values of images. train/loss and the others: means over the images of all ranks."""

    def __init__(self) -> None:
        self._clear()

    def _clear(self) -> None:
        self._names, self._sums = list[str](), None
        self._elsewhere = 0.0  # images of the sums that another process saw, before it was stopped
        self._start, self.grad_norm = time.perf_counter(), None

    _sums: Tensor | None
    grad_norm: Tensor | None

    def add(self, values: Mapping[str, Tensor]) -> None:
        """Add one micro-batch: values of its images, (B,), all of the same number."""
        count = len(next(iter(values.values())))
        rows = [value.detach().double().sum() for value in values.values()]
        sums = torch.stack([*rows, torch.full_like(rows[0], count)])
        if self._sums is not None and self._names == list(values):  # not of a version with other values
            sums = self._sums.to(sums) + sums
        self._names, self._sums = list(values), sums

    def take(self, over_ranks: Callable[[Tensor], Tensor] = lambda sums: sums) -> dict[str, float]:
        """Return the means over all ranks, and start anew; over_ranks: sums a tensor over them."""
        assert self._sums is not None
        *sums, count = over_ranks(self._sums).tolist()  # waits for the device
        seconds = time.perf_counter() - self._start
        values = {f"train/{name}": s / count for name, s in zip(self._names, sums, strict=True)}
        if self.grad_norm is not None:
            values["train/grad_norm"] = float(self.grad_norm)
        values["train/images_per_s"] = (count - self._elsewhere) / seconds
        self._clear()
        return values

    def state(self, over_ranks: Callable[[Tensor], Tensor] = lambda sums: sums) -> dict[str, Any]:
        """Return the sums of all ranks, for a checkpoint."""
        sums = None if self._sums is None else over_ranks(self._sums.clone())
        return {"names": self._names, "sums": sums}

    def restore(self, state: object, rank: int = 0) -> None:
        """Restore what `state` returned, on the first rank: the sums are those of all. The clock begins anew.

        Raises ValueError for what `state` cannot have returned.
        """
        self._clear()
        if not isinstance(state, dict) or (sums := state.get("sums")) is None:
            return
        names = state.get("names")
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ValueError("the names of the running sums are no names")
        if not isinstance(sums, Tensor) or sums.shape != (len(names) + 1,) or not sums.is_floating_point():
            raise ValueError(f"the running sums are not {len(names) + 1} numbers")
        self._names, self._sums = names, sums if rank == 0 else torch.zeros_like(sums)
        self._elsewhere = float(sums[-1])

    def pause(self) -> None:
        """Stop the clock of images/s while something else than training is done."""
        self._paused = time.perf_counter()

    def go_on(self) -> None:
        self._start += time.perf_counter() - self._paused
