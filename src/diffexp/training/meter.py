"""What is told of training: means since they were last told, summed where the losses are, read when told."""

import math
import time
from collections.abc import Callable

import torch
from torch import Tensor

from diffexp.diffusion.objective import Losses
from diffexp.errors import DivergedError

QUARTERS = 4


class Meter:
    """loss: weighted mean; loss_q1..q4: mean squared error of the network's output by quarter of t; vlb_step:
    L_t in bits/dim, where the objective has it (T of them are the bound).
    """

    def __init__(self) -> None:
        self._clear()

    def _clear(self) -> None:
        self._sums: Tensor | None = None
        self._elsewhere = 0.0  # images of the sums that another process saw, before it was stopped
        self._start = time.perf_counter()
        self.grad_norm: Tensor | None = None

    def state(self) -> Tensor | None:
        """The sums of this rank, for a checkpoint."""
        return self._sums

    def restore(self, sums: Tensor | None) -> None:
        """As `state` had them; the clock begins anew."""
        self._clear()
        if sums is not None:
            self._sums, self._elsewhere, self._bound = sums, float(sums[-1]), bool(sums[-3] != 0)

    def pause(self) -> None:
        """The clock of images/s stands while something else than training is done."""
        self._paused = time.perf_counter()

    def go_on(self) -> None:
        self._start += time.perf_counter() - self._paused

    def add(self, losses: Losses) -> None:
        """One micro-batch."""
        quarter = (losses.t * QUARTERS).ceil().long().clamp(1, QUARTERS) - 1
        mse = losses.mse.float()
        sums = torch.zeros(2 * QUARTERS + 3, device=mse.device)
        sums.index_add_(0, quarter, mse).index_add_(0, quarter + QUARTERS, torch.ones_like(mse))
        sums[-2], sums[-1] = losses.weighted.float().sum(), len(mse)
        self._bound = losses.vlb is not None
        if losses.vlb is not None:
            sums[-3] = losses.vlb.float().sum()
        self._sums = sums if self._sums is None else self._sums.to(sums) + sums

    def take(self, step: int, over_ranks: Callable[[Tensor], Tensor] = lambda sums: sums) -> dict[str, float]:
        """The means over all ranks, and a new start. Raises DivergedError when the loss is not finite.

        over_ranks: sums a tensor over them.
        """
        assert self._sums is not None
        *quarters, bits, total, n = over_ranks(self._sums).tolist()  # waits for the device
        seconds = time.perf_counter() - self._start
        values = {"train/loss": total / n}
        for q in range(QUARTERS):
            if quarters[q + QUARTERS]:
                values[f"train/loss_q{q + 1}"] = quarters[q] / quarters[q + QUARTERS]
        if self._bound:
            values["train/vlb_step"] = bits / n
        if not all(map(math.isfinite, values.values())):
            what = f"the loss is not finite at step {step}: {values['train/loss']}"
            raise DivergedError(what, "train/loss", "lower optimizer.lr, or precision=fp32")
        if self.grad_norm is not None:  # may overflow in fp16: then the scaler leaves the step out
            values["train/grad_norm"] = float(self.grad_norm)
        values["train/images_per_s"] = (n - self._elsewhere) / seconds
        self._clear()
        return values
