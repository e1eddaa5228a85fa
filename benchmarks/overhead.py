"""What a sampler costs beside the network: a step of ours and of diffusers' scheduler, the network for free.

    python benchmarks/overhead.py [--batch 64] [--size 32] [--rounds 15]      needs pip install -e ".[bench]"

Both make x0 and eps of the network's output (eps-prediction) and the next x, on the same grid; both take 20
steps a round, in turn, and a figure is the median of a step. x0 is not clipped by either.
"""

import argparse
import random
import time
import warnings
from collections.abc import Callable
from statistics import median

import torch
from torch import Tensor, nn

from diffexp.diffusion import Denoiser, Eps, FixedSmall, linear
from diffexp.samplers import DDIM, DDPM, PNDM, Adams, DPMSolverPP, GridSampler, Heun, UniPC

warnings.filterwarnings("ignore")
STEPS = 20


class Free(nn.Module):
    """A network whose output is there already."""

    def __init__(self, out: Tensor) -> None:
        super().__init__()
        self.out = out

    def forward(self, x: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        return self.out


def pairs() -> dict[str, tuple[GridSampler, Callable[[], object]]]:
    """Our sampler, and what makes diffusers' scheduler of the same algorithm."""
    import diffusers as d

    betas = {"beta_start": 1e-4, "beta_end": 0.02, "beta_schedule": "linear"}
    plain = {**betas, "clip_sample": False}
    return {
        "DDIM": (DDIM(steps=STEPS), lambda: d.DDIMScheduler(**plain)),
        "DDPM": (DDPM(steps=STEPS, variance="fixed_small"), lambda: d.DDPMScheduler(**plain)),
        "Heun": (Heun(steps=STEPS // 2), lambda: d.HeunDiscreteScheduler(**betas)),
        "iPNDM": (PNDM(steps=STEPS), lambda: d.IPNDMScheduler()),
        "PLMS": (PNDM(steps=STEPS, start="heun"), lambda: d.PNDMScheduler(**betas, skip_prk_steps=True)),
        "LMS": (Adams(steps=STEPS, order=4, hold="eps", of="ratio"), lambda: d.LMSDiscreteScheduler(**betas)),
        "DEIS-2": (
            Adams(steps=STEPS, order=2, hold="eps", of="lam"),
            lambda: d.DEISMultistepScheduler(**betas, solver_order=2),
        ),
        "DPM-Solver++(2M)": (DPMSolverPP(steps=STEPS), lambda: d.DPMSolverMultistepScheduler(**betas)),
        "DPM-Solver++(3M)": (
            DPMSolverPP(steps=STEPS, order=3),
            lambda: d.DPMSolverMultistepScheduler(**betas, solver_order=3),
        ),
        "SDE-DPM-Solver++(2M)": (
            DPMSolverPP(steps=STEPS, eta=1.0),
            lambda: d.DPMSolverMultistepScheduler(**betas, algorithm_type="sde-dpmsolver++"),
        ),
        "UniPC-2": (UniPC(steps=STEPS), lambda: d.UniPCMultistepScheduler(**betas)),
        "UniPC-3": (UniPC(steps=STEPS, order=3), lambda: d.UniPCMultistepScheduler(**betas, solver_order=3)),
    }


def now(x: Tensor) -> float:
    """The time when all is done that x's device was given, in seconds."""
    if x.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter()


def ours(sampler: GridSampler, x: Tensor, out: Tensor) -> float:
    """Seconds for each network call."""
    schedule = SCHEDULE
    denoiser = Denoiser(Free(out), schedule, Eps(), FixedSmall())
    calls = len(sampler.calls(schedule))
    noise = torch.Generator().manual_seed(0)

    def draw(k: int) -> Tensor:
        return x if k == 0 else torch.randn(x.shape, generator=noise)

    start = now(x)
    sampler.sample(denoiser, schedule, draw)
    return (now(x) - start) / calls


def theirs(scheduler: object, x: Tensor, out: Tensor) -> float:
    """Seconds for each network call."""
    made = scheduler
    made.set_timesteps(STEPS if "Heun" not in type(made).__name__ else STEPS // 2)  # type: ignore[attr-defined]
    times = made.timesteps  # type: ignore[attr-defined]
    y = x * made.init_noise_sigma  # type: ignore[attr-defined]
    start = now(x)
    for t in times:
        made.scale_model_input(y, t)  # type: ignore[attr-defined]
        y = made.step(out, t, y).prev_sample  # type: ignore[attr-defined]
    return (now(x) - start) / len(times)


SCHEDULE = linear()


@torch.no_grad()
def main() -> None:
    """Prints a table in Markdown."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=15)
    args = parser.parse_args()
    shape = (args.batch, 3, args.size, args.size)
    x, out = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))
    print(
        f"a step at {'x'.join(map(str, shape))}, µs beside the network, {torch.get_num_threads()} threads\n"
    )
    print("| algorithm | ours | diffusers | ratio |\n|---|---|---|---|")
    for name, (sampler, make) in pairs().items():
        found: dict[str, list[float]] = {"ours": [], "theirs": []}
        for i in range(args.rounds + 1):
            turns = [
                ("ours", lambda s=sampler: ours(s, x, out)),
                ("theirs", lambda m=make: theirs(m(), x, out)),
            ]
            for who, run in random.sample(turns, 2):
                seconds = run()
                if i:
                    found[who].append(seconds)
        a, b = (1e6 * median(found[k]) for k in ("ours", "theirs"))
        print(f"| {name} | {a:.0f} | {b:.0f} | {b / a:.2f} |", flush=True)


if __name__ == "__main__":
    main()
