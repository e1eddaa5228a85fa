"""The work of a network: floating-point operations of one pass forward and one backward, counted by torch.

A product of an (m, k) and a (k, n) matrix counts as 2 m k n, a convolution as the products that it is;
what is done to each number by itself (norms, activations, the optimizer) does not count.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

Pass = Callable[[Any], Tensor]
"""Calls a network for some images and returns its output."""


class _Passed(nn.Module):
    def __init__(self, network: nn.Module, run: Pass) -> None:
        super().__init__()
        self.network, self.run = network, run

    def forward(self) -> Tensor:
        return self.run(self.network)


def flops(network: nn.Module, run: Pass) -> int:
    """Return the floating-point operations of `run` and its gradient in what is trained of the network.

    Nothing is left behind: no gradient, no buffer, no draw. Attention is counted as its two products,
    whatever computes it on this machine.
    """
    whole = _Passed(network, run)
    learned = [w for w in network.parameters() if w.requires_grad]
    buffers = {name: value.clone() for name, value in whole.named_buffers()}
    with (
        torch.random.fork_rng(),
        torch.compiler.set_stance("force_eager"),
        sdpa_kernel(SDPBackend.MATH),
        FlopCounterMode(display=False) as counter,
        torch.enable_grad(),
    ):
        out = functional_call(whole, buffers, ())
        if learned:
            torch.autograd.grad(out.float().sum(), learned, allow_unused=True)
    # of a network whose condition alone is trained, the gradient of each product is as much again
    return counter.get_total_flops() * (1 if learned else 2)
