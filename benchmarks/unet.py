"""The training step of our UNet beside that of diffusers' UNet2DModel of the same configuration.

    python benchmarks/unet.py [--networks digits mnist cifar10] [--rounds 7] [--threads 2] [--device cpu]

A step is forward, mean squared error, backward, gradient clipping and fused AdamW, for both alike. The
contenders take turns in each round, in random order; a figure is the median over the rounds of images per
second, a ratio the median over the rounds of (contender / diffusers in float32). malloc keeps freed memory
(networks/allocator.py), for all alike; --malloc default: as it comes. Needs the extra `bench`.
"""

import argparse
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from statistics import median

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffexp.networks import UNet
from diffexp.networks.allocator import keep_freed_memory

Step = Callable[[], None]


@dataclass(frozen=True)
class Case:
    """One configuration, in our words; `steps` of it are timed at a time, on batches of `batch` images."""

    batch: int
    steps: int
    size: int
    colours: int
    channels: int
    mult: tuple[int, ...]
    blocks: int
    attention: tuple[int, ...]
    groups: int
    classes: int | None = None

    def ours(self) -> nn.Module:
        return UNet(
            self.size,
            self.colours,
            self.colours,
            self.classes,
            self.channels,
            self.mult,
            self.blocks,
            self.attention,
            groups=self.groups,
        )

    def diffusers(self) -> nn.Module:
        from diffusers import UNet2DModel

        attends = [self.size >> i in self.attention for i in range(len(self.mult))]
        return UNet2DModel(
            sample_size=self.size,
            in_channels=self.colours,
            out_channels=self.colours,
            down_block_types=tuple("AttnDownBlock2D" if a else "DownBlock2D" for a in attends),
            up_block_types=tuple("AttnUpBlock2D" if a else "UpBlock2D" for a in reversed(attends)),
            block_out_channels=tuple(self.channels * m for m in self.mult),
            layers_per_block=self.blocks,
            attention_head_dim=None,
            norm_num_groups=self.groups,
            num_class_embeds=None if self.classes is None else self.classes + 1,
        )


CASES = {
    "digits": Case(64, 6, 8, 1, 32, (1, 2), 1, (4,), 2, 10),
    "mnist": Case(64, 1, 28, 1, 32, (1, 2, 2), 2, (7,), 2, 10),
    "cifar10": Case(8, 1, 32, 3, 128, (1, 2, 2, 2), 2, (16,), 32),
}


def peer_forward(model: nn.Module, x: Tensor, t: Tensor, cond: Tensor | None) -> Tensor:
    return model(x, 1000 * t, class_labels=cond).sample


def training_step(model: nn.Module, forward: Callable, case: Case, device: str, bf16: bool) -> Step:
    model = model.to(device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    x = torch.randn(case.batch, case.colours, case.size, case.size, device=device)
    noise, t = torch.randn_like(x), torch.rand(case.batch, device=device)
    cond = None if case.classes is None else torch.randint(case.classes + 1, (case.batch,), device=device)

    def step() -> None:
        with torch.autocast(device, torch.bfloat16, enabled=bf16):
            out = forward(model, x, t, cond)
        F.mse_loss(out.float(), noise).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return step


def own_forward(model: nn.Module, x: Tensor, t: Tensor, cond: Tensor | None) -> Tensor:
    return model(x, t, cond)


def contenders(case: Case, device: str, compiled: bool) -> dict[str, Step]:
    """Name -> step; the first is the one that all are compared with."""
    own, peer = partial(training_step, forward=own_forward), partial(training_step, forward=peer_forward)
    steps: dict[str, Step] = {}
    for name, bf16 in (("float32", False), ("bfloat16", True)):
        steps[f"diffusers {name}"] = peer(case.diffusers(), case=case, device=device, bf16=bf16)
        steps[f"ours {name}"] = own(case.ours(), case=case, device=device, bf16=bf16)
        if compiled:
            model = torch.compile(case.ours())
            steps[f"ours {name} compiled"] = own(model, case=case, device=device, bf16=bf16)
    return steps


def measure(steps: dict[str, Step], case: Case, rounds: int, device: str) -> dict[str, list[float]]:
    """Images per second of every contender in every round."""
    rates: dict[str, list[float]] = {name: [] for name in steps}
    for r in range(rounds + 1):  # the first warms up
        for name, step in random.sample(list(steps.items()), len(steps)):
            start = time.perf_counter()
            for _ in range(case.steps):
                step()
            if device == "cuda":
                torch.cuda.synchronize()
            if r:
                rates[name].append(case.batch * case.steps / (time.perf_counter() - start))
    return rates


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--networks", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--malloc", default="keep", choices=("keep", "default"))
    parser.add_argument("--compile", action="store_true", help="also compiled")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.malloc == "keep":
        keep_freed_memory()
    for name in args.networks:
        case = CASES[name]
        counts = " and ".join(
            f"{sum(p.numel() for p in m.parameters()):,}" for m in (case.diffusers(), case.ours())
        )
        print(f"\n{name}: {case.size}x{case.size}, batch {case.batch}, parameters {counts}")
        rates = measure(contenders(case, args.device, args.compile), case, args.rounds, args.device)
        base = next(iter(rates.values()))
        for contender, got in rates.items():
            ratio = median(a / b for a, b in zip(got, base, strict=True))
            print(f"  {contender:28} {median(got):9.1f} img/s   x {ratio:.2f}", flush=True)


if __name__ == "__main__":
    main()
