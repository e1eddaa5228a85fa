"""Training: our UNet beside diffusers' of the same configuration, in bfloat16, eager and compiled."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from statistics import median
from typing import Any

import torch
from torch import nn
from unet import Case, Step, measure, own_forward, peer_forward, training_step

from on_device.budget import Budget, Rows, compared, tidy
from on_device.card import seconds
from on_device.form import Form

BASE = "diffusers"
ADAM = 3  # float32 numbers that stay for each weight: itself and two moments


def contenders(case: Case, backend: str) -> dict[str, tuple[Callable[[], nn.Module], Callable]]:
    """Return by name what makes the network, and its forward; what takes long to make comes last."""
    compiled, last = partial(torch.compile, backend=backend, dynamic=False), torch.channels_last
    return {
        "ours": (case.ours, own_forward),
        "diffusers": (case.diffusers, peer_forward),
        "diffusers channels_last": (lambda: case.diffusers().to(memory_format=last), peer_forward),
        "ours compiled": (lambda: compiled(case.ours()), own_forward),
        "diffusers compiled": (lambda: compiled(case.diffusers()), peer_forward),
    }


def warmed(
    make: Callable[[], nn.Module], forward: Callable, case: Case, device: str
) -> tuple[Step, dict[str, Any]]:
    """Return a step that has been made three times, with the seconds of the first, in which a network is
    compiled, and the peak memory: weights and moments, and what a step needs beside them.
    """
    model = make()
    step = training_step(model, forward, case, device, bf16=True)
    first = seconds(step, device)
    step()
    facts: dict[str, Any] = {"first_step_s": first, "memory_gb": None}
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step()
        torch.cuda.synchronize()
        stays = ADAM * sum(4 * p.numel() for p in model.parameters())
        facts["memory_gb"] = (torch.cuda.max_memory_allocated() - before + stays) / 1e9
    return step, facts


def measure_batch(form: Form, batch: int, device: str, budget: Budget, share: float) -> Rows:
    """Return a row for each contender, of batches of that many images."""
    tidy()
    case = replace(form.case, batch=batch)
    steps, facts = dict[str, Step](), dict[str, dict[str, Any]]()
    for name, (make, forward) in budget.there(contenders(case, form.backend)).items():
        what = f"training, {name}, batch {batch}"
        made = budget.attempt(what, partial(warmed, make, forward, case, device), share)
        if made is not None:
            steps[name], facts[name] = made
            print(f"  {what}: first step {facts[name]['first_step_s']:.1f} s", flush=True)
    rates = measure(steps, case, form.rounds, device)
    rows = [
        {"name": name, "batch": batch, "img_per_s": median(got), **facts[name]} for name, got in rates.items()
    ]
    return compared(rows, BASE)


def training(
    form: Form, device: str, budget: Budget, share: float, flops: int, peak: float | None
) -> Iterator[Rows]:
    """Yield all rows so far after each size of batch; share: of the minutes, in which the last contender is
    begun; flops: of an image, forward and backward; peak: of the device, in TFLOP/s.
    """
    rows: Rows = []
    for batch in form.batches:
        for row in measure_batch(form, batch, device, budget, share):
            tflops = row["img_per_s"] * flops / 1e12
            rows.append(row | {"tflops": tflops, "share_of_peak": tflops / peak if peak else None})
        yield rows
    tidy()
