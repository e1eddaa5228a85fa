"""Step by step beside diffusers' schedulers, where they are right; and where not, by closed forms."""

import pytest
import torch
from oracle import gaussian

from diffexp.diffusion import Eps, linear
from diffexp.samplers import DDIM, DDPM, PNDM, Adams, DPMSolverPP, Heun, UniPC

diffusers = pytest.importorskip("diffusers")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

SCHEDULE = linear()
DENOISER = gaussian(SCHEDULE, Eps())
X = torch.randn(2, 1, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
BETAS = {"beta_start": 1e-4, "beta_end": 0.02, "beta_schedule": "linear"}
PLAIN = {**BETAS, "clip_sample": False}


def level_of(index):
    return SCHEDULE(torch.tensor((float(index) + 1) / 1000, dtype=torch.float64))


def theirs(scheduler, steps, noise=None, ve=False, denoiser=DENOISER):
    """x after each call; ve: the scheduler's x is x/α."""
    scheduler.set_timesteps(steps)
    x, out = X.clone(), []
    times = scheduler.timesteps.tolist()
    if ve:
        x = x / level_of(times[0]).alpha
    for index in times:
        t = torch.tensor((float(index) + 1) / 1000, dtype=torch.float64)
        at = x * SCHEDULE(t).alpha if ve else x
        eps = denoiser(at, t).eps
        scheduler.scale_model_input(x, index)
        options = {} if noise is None else {"generator": noise}
        x = scheduler.step(eps, torch.tensor(index), x, **options).prev_sample
        out.append(x)
    return out


def ours(sampler, noise=None):
    """x after each step."""

    def draw(k):
        return X if k == 0 else torch.randn(X.shape, generator=noise, dtype=torch.float64)

    return [x for x, _ in sampler.run(DENOISER, SCHEDULE, draw)]


CASES = {
    "DDIM": (DDIM, {"spacing": "leading"}, "DDIMScheduler", {**PLAIN, "timestep_spacing": "leading"}),
    "DPM-Solver++(2M)": (
        DPMSolverPP, {"spacing": "trailing"},
        "DPMSolverMultistepScheduler", {**BETAS, "timestep_spacing": "trailing"},
    ),
    "DPM-Solver++(3M)": (
        DPMSolverPP, {"spacing": "trailing", "order": 3},
        "DPMSolverMultistepScheduler", {**BETAS, "timestep_spacing": "trailing", "solver_order": 3},
    ),
    "UniPC-2 bh2": (
        UniPC, {"spacing": "trailing"}, "UniPCMultistepScheduler", {**BETAS, "timestep_spacing": "trailing"},
    ),
    "UniPC-2 bh1": (
        UniPC, {"spacing": "trailing", "form": "bh1"},
        "UniPCMultistepScheduler", {**BETAS, "timestep_spacing": "trailing", "solver_type": "bh1"},
    ),
    "DEIS-2": (
        Adams, {"spacing": "trailing", "order": 2, "hold": "eps", "of": "lam"},
        "DEISMultistepScheduler", {**BETAS, "timestep_spacing": "trailing", "solver_order": 2},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_each_step_is_theirs(name):
    """Their tables are float32; the step to the end is left out where theirs is capped."""
    make, options, scheduler, settings = CASES[name]
    a = ours(make(steps=20, **options))
    b = theirs(getattr(diffusers, scheduler)(**settings), 20)
    assert len(a) == len(b) == 20
    for x, y in zip(a[:-1], b[:-1], strict=True):
        torch.testing.assert_close(x, y, rtol=0, atol=2e-4)


def test_ddpm_with_the_same_noise():
    a = ours(DDPM(steps=20, spacing="leading", variance="fixed_small"), torch.Generator().manual_seed(7))
    scheduler = diffusers.DDPMScheduler(**PLAIN, timestep_spacing="leading")
    b = theirs(scheduler, 20, torch.Generator().manual_seed(7))
    for x, y in zip(a[:-1], b[:-1], strict=True):
        torch.testing.assert_close(x, y, rtol=0, atol=2e-4)


@pytest.mark.parametrize(
    ("sampler", "scheduler", "calls"),
    [(DDIM(steps=10, spacing="linspace"), "EulerDiscreteScheduler", 1),
     (Heun(steps=10, spacing="linspace"), "HeunDiscreteScheduler", 2)],
    ids=["Euler", "Heun"],
)  # fmt: skip
def test_in_their_other_variable(sampler, scheduler, calls):
    a = ours(sampler)
    b = theirs(getattr(diffusers, scheduler)(**BETAS), 10, ve=True)
    torch.testing.assert_close(a[-1], b[-1], rtol=0, atol=2e-4)
    t = sampler.grid(SCHEDULE)[5]
    torch.testing.assert_close(a[4], b[5 * calls - 1] * SCHEDULE(t).alpha, rtol=0, atol=2e-4)


def test_plms():
    a = ours(PNDM(steps=20, start="heun", spacing="leading"))
    scheduler = diffusers.PNDMScheduler(
        **BETAS, skip_prk_steps=True, set_alpha_to_one=True, timestep_spacing="leading"
    )
    b = theirs(scheduler, 20)
    assert len(b) == 21  # the start costs them a call more, and us
    torch.testing.assert_close(a[-1], b[-1], rtol=0, atol=2e-4)


@pytest.mark.parametrize("spacing", ["trailing", "linspace"])
def test_their_ddim_steps_to_wrong_times_where_steps_do_not_divide_the_chain(spacing):
    """For data that is one point DDIM is exact: x is α m + σ ε at each time. Theirs steps to t − T // S,
    whatever the next timestep is.
    """
    point = gaussian(SCHEDULE, Eps(), means=0.2, std=1e-4)
    sampler = DDIM(steps=30, spacing=spacing)
    noise = (X - SCHEDULE(torch.ones(()).double()).alpha * 0.2) / SCHEDULE(torch.ones(()).double()).sigma

    def off(points):
        levels = [SCHEDULE(t) for t in sampler.grid(SCHEDULE)[1:]]
        pairs = zip(points, levels, strict=True)
        return max(float((x - to.alpha * 0.2 - to.sigma * noise).abs().max()) for x, to in pairs)

    scheduler = diffusers.DDIMScheduler(**PLAIN, timestep_spacing=spacing)
    assert off([x for x, _ in sampler.run(point, SCHEDULE, lambda k: X)]) < 1e-3
    assert off(theirs(scheduler, 30, denoiser=point)) > 0.01


def test_their_dynamic_threshold_has_a_cap_that_undoes_it():
    scheduler = diffusers.DDIMScheduler(**BETAS, thresholding=True)
    loud = 5 * torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    kept = scheduler._threshold_sample(loud)
    assert torch.equal(kept, loud.clamp(-1, 1))  # static: the quantile was capped at 1
