"""Sampling: DDIM with our `generate` beside diffusers' DDIMPipeline, from noise to images on the CPU.

Both predict eps on the linear schedule and clip x0. Ours runs its network under autocast, with float32
weights; diffusers does so as well, and with its weights in bfloat16, as its documentation has it.
"""

import random
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from statistics import median
from typing import Any

import torch
from overhead import ours, theirs
from torch import Tensor, nn
from unet import Case

from diffexp.codecs import Pixels
from diffexp.conditioning import Unconditional
from diffexp.diffusion import Eps, FixedSmall, linear
from diffexp.model.build import build_model
from diffexp.samplers import DDIM, generate
from on_device.budget import Budget, Rows, compared, tidy
from on_device.card import seconds
from on_device.form import Form
from on_device.graphs import Graphed

BASE = "diffusers"
Prepare = Callable[[nn.Module], nn.Module]
Draw = Callable[[], Any]


def without_zeros(network: nn.Module) -> nn.Module:
    """Draw all matrices anew, the same each time. Some of ours begin as 0, and none of diffusers': a product
    with zeros needs less power, and is faster on a GPU.
    """
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in network.parameters():
            if p.ndim > 1:
                p.normal_(std=p[0].numel() ** -0.5, generator=draw)
    return network


def own(case: Case, steps: int, device: str, prepare: Prepare) -> Draw:
    """Return what draws case.batch images, after `prepare` of the network."""

    def network(image_size: int, in_channels: int, out_channels: int) -> nn.Module:
        return without_zeros(case.ours())

    shape = (case.colours, case.size, case.size)
    parts = (network, linear(), Eps(), FixedSmall(), Unconditional(), Pixels(), "bf16")
    model = build_model(shape, None, *parts).requires_grad_(False).to(device)
    model.denoiser.network = prepare(model.denoiser.network)
    index, sampler = torch.arange(case.batch), DDIM(steps=steps)
    return lambda: generate(model, sampler, index, batch_size=case.batch, device=device)


def peer(case: Case, steps: int, device: str, weights: torch.dtype, prepare: Prepare) -> Draw:
    """Return what draws case.batch images with diffusers' pipeline; weights: their dtype."""
    from diffusers import DDIMPipeline

    unet = prepare(case.diffusers().requires_grad_(False).to(device, weights).eval())
    pipeline = DDIMPipeline(unet, _scheduler())
    pipeline.set_progress_bar_config(disable=True)

    def draw() -> object:
        with torch.autocast(device, torch.bfloat16, enabled=weights == torch.float32):
            images = pipeline(case.batch, num_inference_steps=steps, output_type="pt").images
        return images.float().cpu()  # numpy, its other kind of output, has no bfloat16

    return draw


def _scheduler(**options: Any) -> Any:
    from diffusers import DDIMScheduler

    return DDIMScheduler(beta_start=1e-4, beta_end=0.02, beta_schedule="linear", **options)


def _compiled(network: nn.Module, **how: Any) -> nn.Module:
    network.compile(dynamic=False, **how)
    return network


def contenders(case: Case, steps: int, device: str, backend: str) -> dict[str, Callable[[], Draw]]:
    """Return by name what makes each; what is compiled comes last."""
    plain: Prepare = lambda network: network  # noqa: E731
    compiled: Prepare = partial(_compiled, backend=backend)
    mine, other = partial(own, case, steps, device), partial(peer, case, steps, device)
    graphs: dict[str, Callable[[], Draw]] = {}
    if device == "cuda":
        graphs = {
            "ours, CUDA graph": partial(mine, Graphed),
            "ours compiled, CUDA graph": partial(mine, lambda n: Graphed(_compiled(n, backend=backend))),
            "ours compiled, reduce-overhead": partial(mine, partial(_compiled, mode="reduce-overhead")),
        }
    return {
        "ours": partial(mine, plain),
        "diffusers": partial(other, torch.float32, plain),
        "diffusers, bfloat16 weights": partial(other, torch.bfloat16, plain),
        "ours compiled": partial(mine, compiled),
        **graphs,
        "diffusers compiled, bfloat16 weights": partial(other, torch.bfloat16, compiled),
    }


def _made(make: Callable[[], Draw], device: str) -> tuple[Draw, float, Tensor]:
    draw = make()
    first = seconds(draw, device)
    return draw, first, draw()


def _difference(name: str, images: dict[str, Tensor]) -> float | None:
    """Return the mean difference of our images to those of ours, eager, in 255ths; None for another's."""
    if not name.startswith("ours") or "ours" not in images:
        return None
    return float((images[name].float() - images["ours"].float()).abs().mean())


def sampling(form: Form, device: str, budget: Budget, share: float) -> Rows:
    """Return a row for each contender, which take turns in each round."""
    case, draws = replace(form.case, batch=form.sampled), dict[str, Draw]()
    first, images = dict[str, float](), dict[str, Tensor]()
    for name, make in budget.there(contenders(case, form.steps, device, form.backend)).items():
        made = budget.attempt(f"sampling, {name}", partial(_made, make, device), share)
        if made is not None:
            draws[name], first[name], images[name] = made
            print(f"  sampling, {name}: first {case.batch} images in {first[name]:.1f} s", flush=True)
    times: dict[str, list[float]] = {name: [] for name in draws}
    for _ in range(form.rounds):
        for name, draw in random.sample(list(draws.items()), len(draws)):
            times[name].append(seconds(draw, device))
    tidy()
    rows = [
        {
            "name": name,
            "batch": case.batch,
            "steps": form.steps,
            "img_per_s": case.batch / median(got),
            "first_s": first[name],
            "difference": _difference(name, images),
        }
        for name, got in times.items()
    ]
    return compared(rows, BASE)


@torch.no_grad()
def overhead(form: Form, device: str, budget: Budget) -> Rows:
    """Return the microseconds of a step of DDIM when the network's output is there already."""
    case = form.case
    x, out = torch.randn(2, form.sampled, case.colours, case.size, case.size, device=device)
    turns = budget.there(
        {
            "ours": lambda: ours(DDIM(steps=20), x, out),
            BASE: lambda: theirs(_scheduler(clip_sample=False), x, out),
        }
    )
    times: dict[str, list[float]] = {name: [] for name in turns}
    for i in range(form.rounds + 2):
        for name, run in random.sample(list(turns.items()), len(turns)):
            spent = run()
            if i > 1:
                times[name].append(spent)
    rows = [{"name": name, "batch": form.sampled, "us": 1e6 * median(got)} for name, got in times.items()]
    return compared(rows, BASE, "us", less=True)
