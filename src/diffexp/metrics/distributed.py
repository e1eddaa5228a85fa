"""Sums over the ranks of a distributed run; without one they are those of this process."""

import torch.distributed as dist
from torch import Tensor


def summed(*tensors: Tensor) -> list[Tensor]:
    """Sum each tensor over all ranks: a collective call, which every rank must make. The input stays."""
    if not (dist.is_available() and dist.is_initialized()):
        return list(tensors)
    device = "cuda" if dist.get_backend() == "nccl" else "cpu"
    copies = [tensor.to(device, copy=True) for tensor in tensors]
    for copy in copies:
        dist.all_reduce(copy)
    return [copy.to(tensor.device) for copy, tensor in zip(copies, tensors, strict=True)]
