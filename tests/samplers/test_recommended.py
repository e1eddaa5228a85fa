"""What docs/samplers.md recommends has smaller errors than what is used today, where the flow is known."""

import importlib.util
from pathlib import Path

import pytest
import torch

from diffexp.samplers import PNDM, Adams, with_calls

FILE = Path(__file__).parents[2] / "benchmarks" / "recommended.py"
spec = importlib.util.spec_from_file_location("recommended", FILE)
recommended = importlib.util.module_from_spec(spec)
spec.loader.exec_module(recommended)


@pytest.mark.parametrize("calls", [5, 10, 20])
@pytest.mark.parametrize("target", recommended.TARGETS)
def test_a_third_of_the_error_of_every_other(target, calls):
    means, stds = recommended.TARGETS[target]
    denoise, schedule = recommended.denoiser(means, stds), recommended.SCHEDULE
    x = torch.randn(64, means.shape[1], generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    def end(sampler):
        return sampler.sample(denoise, schedule, lambda k: x)

    want = end(Adams(order=4, of="t", corrector=True, spacing="sqrt_t", steps=800))

    def error(sampler):
        return float((end(with_calls(sampler, calls, schedule)) - want).square().mean().sqrt())

    others = min(error(s) for s in recommended.OTHERS.values())
    assert error(PNDM(order=3, spacing="power")) < others / 3
