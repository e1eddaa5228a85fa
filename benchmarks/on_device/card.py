"""What the machine is, and what it could do: its name, its peak, and the operations of a network."""

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

# Dense bfloat16 with sums in float32, TFLOP/s, of the data sheets; of the names that fit the longest counts.
PEAKS = {
    "A10": 125, "A100": 312, "A40": 150, "B200": 2250, "H100": 989, "H100 NVL": 835, "H100 PCIe": 756,
    "H200": 989, "H200 NVL": 835, "L4": 121, "L40S": 362,
}  # fmt: skip


def peak_tflops(name: str) -> float | None:
    """Return the peak of the card of that name in TFLOP/s, None where it is not known."""
    words = f" {name.replace('-', ' ')} "
    fits = [known for known in PEAKS if f" {known} " in words]
    return PEAKS[max(fits, key=len)] if fits else None


def wait(device: str) -> None:
    """Return when the device has done all that it was given."""
    if device == "cuda":
        torch.cuda.synchronize()


def seconds(work: Callable[[], object], device: str) -> float:
    """Return how long the work takes, from an idle device to an idle device."""
    wait(device)
    start = time.perf_counter()
    work()
    wait(device)
    return time.perf_counter() - start


def flops(work: Callable[[], object]) -> int:
    """Return the floating-point operations of matrix products, convolutions and attention in the work, where
    a multiplication with its addition is two.
    """
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()


def flops_of(network: nn.Module, shape: tuple[int, int, int]) -> dict[str, int]:
    """Return those of one image of `shape`, (C, H, W), forward, and forward with backward: on the CPU."""
    x, t = torch.randn(1, *shape), torch.rand(1)
    with torch.no_grad():
        forward = flops(lambda: network(x, t))
    return {"forward": forward, "training": flops(lambda: network(x, t).square().mean().backward())}


def matmul_tflops(device: str, size: int, rounds: int = 10) -> float:
    """Return the TFLOP/s of a product of two random bfloat16 matrices (size, size): the median."""
    a, b = torch.randn(2, size, size, device=device, dtype=torch.bfloat16)
    times = [seconds(lambda: a @ b, device) for _ in range(rounds + 3)][3:]
    return 2 * size**3 / median(times) / 1e12


def _answer(*words: str) -> str | None:
    """Return what a program says, None where there is no such program, or it fails."""
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=20, cwd=Path(__file__).parent)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None


def card(device: str, size: int, commit: str | None) -> dict[str, Any]:
    """Return the machine in words and numbers; size: of the matrix product that is timed."""
    name = torch.cuda.get_device_name() if device == "cuda" else "CPU"
    product = matmul_tflops(device, size)
    query = "--query-gpu=driver_version,clocks.sm,clocks.max.sm,clocks.mem,power.limit"
    state = _answer("nvidia-smi", query, "--format=csv,noheader") if device == "cuda" else None
    return {
        "device": name,
        "memory_gb": torch.cuda.get_device_properties(0).total_memory / 1e9 if device == "cuda" else None,
        "driver, clocks, power": state,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version() if device == "cuda" else None,
        "cudnn_benchmark": torch.backends.cudnn.benchmark,
        "commit": commit or _answer("git", "rev-parse", "--short", "HEAD"),
        "date": time.strftime("%Y-%m-%d"),
        "peak_tflops": peak_tflops(name),
        "matmul_tflops": product,
    }
