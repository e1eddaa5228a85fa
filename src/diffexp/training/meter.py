"""Loss statistics of training: means since they were last logged, summed on the device, read when logged."""

import math
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeGuard

import torch
from torch import Tensor

from diffexp.diffusion.objective import Losses
from diffexp.training.shares import Shares

QUARTERS = 4
LOG_SNR = (-6.0, -3.0, 0.0, 3.0, 6.0)  # between the bins
BINS = [*(f"by_t/{{}}_q{q + 1}" for q in range(QUARTERS)), *(f"by_snr/{{}}_{b + 1}" for b in range(6))]


def _names(value: Any) -> TypeGuard[list[str]]:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


class Meter:
    """Sums of the values to log. train/loss: mean, and its parts where it has several, and that of the images
    of each part of a mixture. By quarter of t (by_t,
    1 the least noisy) and by log SNR (by_snr, 1 below −6, then to −3, 0, 3, 6, and above): mse, of the
    network's output; gradient, of the loss there; frac, where the variance is learned; vlb, L_t in bits/dim,
    T times whose mean is the bound.
    """

    def __init__(self) -> None:
        self._clear()

    def _clear(self) -> None:
        self._sums: Tensor | None = None
        self._parts, self._columns = list[str](), list[str]()
        self._mixed = Shares()
        self._elsewhere = 0.0  # images of the sums that another process saw, before it was stopped
        self._start = time.perf_counter()
        self.grad_norm: Tensor | None = None

    def state(self, over_ranks: Callable[[Tensor], Tensor] = lambda sums: sums) -> dict[str, Any]:
        """Return the sums of all ranks, for a checkpoint; over_ranks: sums a tensor over them."""
        sums = None if self._sums is None else over_ranks(self._sums.clone())
        mixed = self._mixed.state(over_ranks)
        return {"sums": sums, "parts": self._parts, "columns": self._columns, "mixed": mixed}

    def restore(self, state: dict[str, Any] | None, rank: int = 0) -> None:
        """Restore the sums that `state` returned, on the first rank: they are those of all. The clock begins
        anew.

        Raises ValueError for what `state` cannot have returned.
        """
        self._clear()
        if not isinstance(state, dict) or (sums := state.get("sums")) is None:
            return
        parts, columns = state.get("parts"), state.get("columns")
        if not _names(parts) or not _names(columns):
            raise ValueError("the names of the running sums are no names")
        size = len(BINS) * (len(columns) + 1) + len(parts) + 2
        if not isinstance(sums, Tensor) or not sums.is_floating_point() or sums.shape != (size,):
            raise ValueError(f"the running sums are not {size} numbers")
        self._sums, self._parts, self._columns = sums if rank == 0 else torch.zeros_like(sums), parts, columns
        self._mixed = Shares.of(state.get("mixed"), rank)
        self._elsewhere = float(sums[-1])

    def pause(self) -> None:
        """Stop the clock of images/s while something else than training is done."""
        self._paused = time.perf_counter()

    def go_on(self) -> None:
        self._start += time.perf_counter() - self._paused

    def add(self, losses: Losses, part: Tensor | None = None, names: Sequence[str] = ()) -> None:
        """Add one micro-batch. part: int64 (B,), of which part of a mixture each image is, by its number
        among `names`.
        """
        if part is not None:
            self._mixed.add(losses.each, part, names)
        mse = losses.mse.float()
        quarter = (losses.t * QUARTERS).ceil().long().clamp(1, QUARTERS) - 1
        bin_ = torch.bucketize(losses.log_snr.to(mse), mse.new_tensor(LOG_SNR))
        kept = {"mse": mse, "gradient": losses.gradient, "frac": losses.frac, "vlb": losses.vlb}
        columns = {name: value.float() for name, value in kept.items() if value is not None}
        rows = torch.stack([torch.ones_like(mse), *columns.values()], 1)
        binned = mse.new_zeros(len(BINS), rows.shape[1])
        binned.index_add_(0, quarter, rows).index_add_(0, bin_ + QUARTERS, rows)
        parts = [part.float().sum() for part in losses.parts.values()]
        total = losses.loss.detach().float() * len(mse)
        sums = torch.cat([binned.flatten(), torch.stack([*parts, total, mse.new_tensor(len(mse))])])
        self._parts, self._columns = list(losses.parts), list(columns)
        if self._sums is not None and self._sums.shape == sums.shape:  # not of a version with other columns
            sums = self._sums.to(sums) + sums
        self._sums = sums

    def take(self, over_ranks: Callable[[Tensor], Tensor] = lambda sums: sums) -> dict[str, float]:
        """Return the means over all ranks, and start anew; over_ranks: sums a tensor over them."""
        assert self._sums is not None
        *sums, total, n = over_ranks(self._sums).tolist()  # waits for the device
        seconds = time.perf_counter() - self._start
        values = {"train/loss": total / n}
        if len(self._parts) > 1:
            values |= {
                f"train/loss_{p}": v / n for p, v in zip(self._parts, sums[-len(self._parts) :], strict=True)
            }
        values |= self._mixed.means(over_ranks, taken=values)
        values |= self._binned(sums)
        if self.grad_norm is not None:
            values["train/grad_norm"] = float(self.grad_norm)
        values["train/images_per_s"] = (n - self._elsewhere) / seconds
        self._clear()
        return values

    def _binned(self, sums: list[float]) -> dict[str, float]:
        values, width = {}, len(self._columns) + 1
        for i, name in enumerate(BINS):
            count, *row = sums[i * width : (i + 1) * width]
            values |= {
                name.format(column): value / count
                for column, value in zip(self._columns, row, strict=True)
                if count and math.isfinite(value)
            }
        return values
