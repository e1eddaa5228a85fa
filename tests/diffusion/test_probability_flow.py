"""The density under the probability flow, where it is known."""

import math

import pytest
import torch

from diffexp.diffusion import Prediction, cosine, flow, linear, probability_flow, with_snr
from diffexp.randomness import Noise, generator

WEIGHTS, MEANS, STDS = (torch.tensor(v).double() for v in ([0.3, 0.7], [-1.0, 0.6], [0.25, 0.15]))
NORMAL = [torch.ones(1).double(), torch.tensor([0.2]).double(), torch.tensor([0.5]).double()]


def denoiser(schedule, weights, means, stds):
    """Of a mixture, each pixel for itself."""

    def denoise(x, t, cond=None):
        level = schedule(t)
        var = level.alpha**2 * stds**2 + level.sigma**2
        far = x[..., None] - level.alpha * means
        share = (weights.log() - 0.5 * var.log() - far**2 / (2 * var)).softmax(-1)
        return Prediction((share * (means + level.alpha * stds**2 / var * far)).sum(-1), x, level)

    return denoise


def density(x, weights, means, stds):
    each = weights.log() + torch.distributions.Normal(means, stds).log_prob(x[..., None])
    return each.logsumexp(-1).flatten(1).sum(1)


def points(n=6, size=2):
    return torch.rand(n, 1, size, size, generator=generator(0), dtype=torch.float64) * 2 - 1


@pytest.mark.parametrize("data", [NORMAL, (WEIGHTS, MEANS, STDS)], ids=["gaussian", "mixture"])
@pytest.mark.parametrize(
    "schedule", [cosine(), with_snr(cosine(), zero_terminal=True), flow()], ids=["cosine", "zero", "flow"]
)
def test_exact_trace_gives_the_density(schedule, data):
    x = points()
    got = probability_flow.log_density(denoiser(schedule, *data), schedule, x, rtol=1e-6, atol=1e-6)
    bits = (got.log_p - density(x, *data)) / (x[0].numel() * math.log(2))
    assert bits.abs().max() < 1e-4
    assert 20 < got.calls < 300


def test_where_the_chain_does_not_end_in_noise_it_is_the_density_of_what_the_model_makes():
    """Linear, T = 1000: N(0, 1) carried back by the affine flow of a Gaussian."""
    schedule, x = linear(), points()
    end = schedule(torch.ones(()).double())
    spread = (end.alpha**2 * 0.25 + end.sigma**2).sqrt()
    noise = end.alpha * 0.2 + spread * (x - 0.2) / 0.5
    want = (torch.distributions.Normal(0, 1).log_prob(noise) + (spread / 0.5).log()).flatten(1).sum(1)
    got = probability_flow.log_density(denoiser(schedule, *NORMAL), schedule, x, rtol=1e-7, atol=1e-7)
    torch.testing.assert_close(got.log_p, want, rtol=0, atol=2e-4)
    assert (got.log_p - density(x, *NORMAL)).abs().max() > 2e-3


def test_probes_are_unbiased_and_their_error_falls_with_the_root_of_their_number():
    """Of a Gaussian that is not isotropic in the basis of the pixels."""
    schedule, draw = cosine(), generator(1)
    turn = torch.linalg.qr(torch.randn(4, 4, generator=draw, dtype=torch.float64)).Q
    stds = torch.tensor([0.1, 0.3, 0.6, 1.0]).double()

    def denoise(x, t, cond=None):
        level = schedule(t)
        gain = level.alpha * stds**2 / (level.alpha**2 * stds**2 + level.sigma**2)
        return Prediction((x.flatten(1) @ turn * gain @ turn.T).view_as(x), x, level)

    x = points(128)
    exact = probability_flow.log_density(denoise, schedule, x).log_p
    spread = {}
    for k in (1, 16):
        noise = Noise(k, torch.arange(128), (1, 2, 2))
        probes = torch.stack([noise(i).double().sign() for i in range(k)])
        error = probability_flow.log_density(denoise, schedule, x, probes=probes).log_p - exact
        spread[k] = float(error.std())
        assert abs(float(error.mean())) < 4 * spread[k] / 128**0.5
    assert spread[1] > 0.1
    assert spread[1] / spread[16] == pytest.approx(4, rel=0.3)


def test_bits_of_values_that_are_all_equally_likely_are_8():
    x0 = (torch.arange(256).double() / 127.5 - 1).view(1, 1, 16, 16)
    u = torch.rand(1, 1, 16, 16, generator=generator(2), dtype=torch.float64)
    x = probability_flow.dequantised(x0, u)
    assert x.min() >= -1 and x.max() < 1
    assert torch.equal(((x + 1) * 128).floor().long().flatten(), torch.arange(256))
    even = torch.full((1,), -256 * math.log(2), dtype=torch.float64)  # density 1/2 on [-1, 1)
    assert float(probability_flow.density_bits_per_dim(even, 256)) == pytest.approx(8)
