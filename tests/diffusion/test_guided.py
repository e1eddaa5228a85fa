"""Guidance and clipping change x̂0 alone, keep x = α x0 + σ eps, and call the network once."""

import pytest
import torch
from oracle import told

from diffexp.diffusion import (
    X0,
    Autoguidance,
    ClassifierFree,
    ClassifierGuidance,
    ClassifierGuided,
    Clipped,
    Denoiser,
    Dynamic,
    FixedSmall,
    Guided,
    LearnedRange,
    Mixture,
    NoClip,
    Static,
    V,
    linear,
)
from diffexp.errors import ConfigError
from diffexp.randomness import generator

SCHEDULE = linear()
T = torch.tensor(0.4, dtype=torch.float64)
X = torch.randn(5, 3, 8, 8, generator=generator(0, "x"))
LABEL = told(torch.tensor([0, 1, 2, 1, 0]), 3)


@pytest.fixture
def denoiser(tiny):
    return Denoiser(tiny(), SCHEDULE, V(), FixedSmall()).requires_grad_(False)


def guided(denoiser, **knobs):
    return Guided(denoiser, SCHEDULE, ClassifierFree(**knobs))


def consistent(p, t=T):
    level = SCHEDULE(t)
    torch.testing.assert_close(level.alpha * p.x0 + level.sigma * p.eps, X, rtol=0, atol=3e-6)


def test_scale_1_is_the_conditional_and_0_the_unconditional_model(denoiser):
    cond, null = denoiser(X, T, LABEL), denoiser(X, T, LABEL.null)
    assert torch.equal(guided(denoiser, scale=1.0)(X, T, LABEL).x0, cond.x0)
    assert torch.equal(guided(denoiser, scale=0.0)(X, T, LABEL).x0, null.x0)
    assert (cond.x0 - null.x0).abs().max() > 0.1


@pytest.mark.parametrize("scale", [0.5, 2.0, 7.5])
def test_other_scales_go_along_the_line_through_both(denoiser, scale):
    cond, null = denoiser(X, T, LABEL), denoiser(X, T, LABEL.null)
    p = guided(denoiser, scale=scale)(X, T, LABEL)
    torch.testing.assert_close(p.x0, null.x0 + scale * (cond.x0 - null.x0), rtol=0, atol=1e-5)
    torch.testing.assert_close(p.eps, null.eps + scale * (cond.eps - null.eps), rtol=0, atol=1e-5)
    consistent(p)


@pytest.mark.parametrize(("scale", "images"), [(0.0, 5), (1.0, 5), (2.0, 10)])
def test_the_network_is_called_once_for_the_whole_batch(denoiser, scale, images):
    seen = []
    handle = denoiser.network.register_forward_hook(lambda _, args, out: seen.append(len(args[0])))
    guided(denoiser, scale=scale)(X, T, LABEL)
    handle.remove()
    assert seen == [images]
    assert ClassifierFree(scale=scale).calls(T, SCHEDULE) * 5 == images


@pytest.mark.parametrize("ramp", ["linear", "cosine"])
def test_a_ramp_begins_with_nothing_and_keeps_its_mean(ramp):
    g, t = ClassifierFree(scale=3.0, ramp=ramp), torch.linspace(0, 1, 10_001, dtype=torch.float64)
    w = g.weight(t, SCHEDULE)
    assert float(w.mean()) == pytest.approx(3.0, abs=1e-9)
    assert float(w[-1]) == pytest.approx(1.0, abs=1e-12) and float(w[0]) == pytest.approx(5.0)
    assert (w.diff() <= 0).all()


def test_images_at_times_of_their_own_are_guided_each_for_itself(denoiser):
    times = torch.tensor([0.1, 0.4, 0.4, 0.9, 1.0], dtype=torch.float64).view(5, 1, 1, 1)
    low, high = (float(SCHEDULE(torch.tensor(u, dtype=torch.float64)).ratio) for u in (0.3, 0.95))
    g = guided(denoiser, scale=3.0, ramp="linear", interval=(low, high))
    together = g(X, times, LABEL)
    for i in range(5):
        alone = g(X[i : i + 1], times[i, 0, 0, 0], LABEL[i : i + 1])
        torch.testing.assert_close(together.x0[i : i + 1], alone.x0, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(together.eps[i : i + 1], alone.eps, rtol=1e-4, atol=1e-5)


def test_autoguidance_leads_away_from_the_guide(denoiser, tiny):
    guide = Denoiser(tiny(), SCHEDULE, V(), FixedSmall()).requires_grad_(False)
    good, bad = denoiser(X, T, LABEL), guide(X, T, LABEL)
    for scale in (0.0, 1.0, 2.5):
        p = Guided(denoiser, SCHEDULE, Autoguidance(scale), guide=guide)(X, T, LABEL)
        torch.testing.assert_close(p.x0, bad.x0 + scale * (good.x0 - bad.x0), rtol=0, atol=1e-5)
        consistent(p)


def test_classifier_guidance_of_a_gaussian_is_that_of_bayes():
    """Two classes N(±m, s²): the unconditional score and the classifier's gradient make the class's score."""
    m, s = 0.4, 0.3
    both = Mixture(SCHEDULE, X0(), FixedSmall(), (-m, m), (s, s), (0.5, 0.5), num_classes=2)
    x, cond = (
        torch.randn(6, 1, 1, 1, generator=generator(0, "c"), dtype=torch.float64),
        told(torch.tensor([0, 1] * 3)),
    )

    def classify(x, t):
        level = SCHEDULE(t.double().view(-1, 1, 1, 1))
        var = level.alpha**2 * s**2 + level.sigma**2
        far = [(x - level.alpha * mean) ** 2 / (2 * var) for mean in (-m, m)]
        return -torch.cat(far, 1).flatten(1)

    denoiser = Denoiser(both, SCHEDULE, X0(), FixedSmall())
    for t in (torch.tensor(0.25, dtype=torch.float64), torch.tensor(0.5, dtype=torch.float64)):
        guidance = ClassifierGuidance(scale=2.0)  # s = 1
        guided = ClassifierGuided(lambda x, t, c: denoiser(x, t), SCHEDULE, guidance, classify)
        torch.testing.assert_close(guided(x, t, cond).x0, denoiser(x, t, cond).x0, rtol=0, atol=1e-6)
        off = ClassifierGuided(denoiser, SCHEDULE, ClassifierGuidance(scale=1.0), classify)
        assert torch.equal(off(x, t, cond).x0, denoiser(x, t, cond).x0)


def test_without_labels_nothing_is_guided(denoiser):
    assert torch.equal(guided(denoiser, scale=4.0)(X, T).x0, denoiser(X, T).x0)


def test_the_interval_is_open_below_and_closed_above(denoiser):
    ratio = float(SCHEDULE(T).ratio)
    cond = denoiser(X, T, LABEL).x0
    for interval, on in [
        ((0.0, ratio), True),
        ((ratio, 99.0), False),
        ((0.0, 0.9 * ratio), False),
        ((0.9 * ratio, 1.1 * ratio), True),
    ]:
        g = guided(denoiser, scale=3.0, interval=interval)
        assert torch.equal(g(X, T, LABEL).x0, cond) is not on
        assert g.guidance.calls(T, SCHEDULE) == 1 + on


@pytest.mark.parametrize("phi", [0.7, 1.0])
def test_rescaling_brings_the_deviation_of_each_image_back(denoiser, phi):
    cond, plain = denoiser(X, T, LABEL).x0, guided(denoiser, scale=5.0)(X, T, LABEL).x0
    p = guided(denoiser, scale=5.0, rescale=phi)(X, T, LABEL)
    want, have, got = (z.flatten(1).std(1) for z in (cond, plain, p.x0))
    torch.testing.assert_close(got, phi * want + (1 - phi) * have, rtol=1e-5, atol=0)
    ratio = p.x0 / plain  # one number per image
    torch.testing.assert_close(ratio, ratio[:, :1, :1, :1].expand_as(ratio), rtol=1e-4, atol=0)
    consistent(p)


def test_rescaling_leaves_an_image_without_deviation_as_it_is():
    class Flat(torch.nn.Module):
        def forward(self, x, t, cond):
            return torch.full_like(x, 0.25)

    flat = Denoiser(Flat(), SCHEDULE, V(), FixedSmall())
    x = torch.full((5, 3, 8, 8), 0.5)
    p = guided(flat, scale=2.0, rescale=0.7)(x, T, LABEL)
    torch.testing.assert_close(p.x0, flat(x, T, LABEL).x0)


def test_the_learned_variance_is_that_of_the_conditional_model(tiny):
    denoiser = Denoiser(tiny(outputs=2), SCHEDULE, V(), LearnedRange()).requires_grad_(False)
    frac = guided(denoiser, scale=2.0)(X, T, LABEL).frac
    torch.testing.assert_close(frac, denoiser(X, T, LABEL).frac, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("knobs", "line"),
    [
        ({"scale": -1.0}, "guidance.scale"),
        ({"rescale": 1.5}, "guidance.rescale"),
        ({"interval": (2.0, 1.0)}, "give [low, high] of σ/α with 0 <= low < high"),
        ({"interval": (1.0,)}, "guidance.interval"),
    ],
)
def test_wrong_guidance_is_refused(knobs, line):
    with pytest.raises(ConfigError) as error:
        ClassifierFree(**knobs)
    assert line in str(error.value)


@pytest.mark.parametrize("clip", [Static(), Static(0.5), Dynamic(), Dynamic(0.8)])
def test_clipped_predictions_stay_consistent_and_in_range(denoiser, clip):
    loud = guided(denoiser, scale=20.0)
    assert loud(X, T, LABEL).x0.abs().max() > 3
    p = Clipped(loud, SCHEDULE, clip)(X, T, LABEL)
    assert p.x0.abs().max() <= getattr(clip, "bound", 1)
    assert p.x0.abs().max() > 0.49
    consistent(p)


def test_no_clipping_leaves_the_prediction_alone(denoiser):
    p, q = denoiser(X, T), Clipped(denoiser, SCHEDULE, NoClip())(X, T)
    assert torch.equal(p.x0, q.x0) and torch.equal(p.eps, q.eps)


def test_dynamic_clipping_takes_the_quantile_of_each_image():
    ramp = torch.linspace(-1, 1, 201).view(1, 1, 1, 201)
    x0 = torch.cat([10 * ramp, 0.5 * ramp, 40 * ramp])  # |x0| of an image: 0, 0.1, 0.1, .. 10, 10
    out = Dynamic(0.9)(x0)
    s = x0.double().abs().flatten(1).quantile(0.9, dim=1)
    assert s.tolist() == pytest.approx([9.0, 0.45, 36.0])
    torch.testing.assert_close(out[0], (10 * ramp[0]).clamp(-9, 9) / 9)
    assert torch.equal(out[1], x0[1])  # s is at least 1: nothing is made louder
    torch.testing.assert_close(out[2], out[0])  # and has no upper cap
    torch.testing.assert_close(Dynamic(0.9)(x0[2:]), out[2:])  # images do not see each other


def test_wrong_clipping_is_refused():
    with pytest.raises(ConfigError, match=r"bound=0\.0\n  at: clip\.bound"):
        Static(0.0)
    with pytest.raises(ConfigError, match=r"quantile=1\.5\n  at: clip\.quantile"):
        Dynamic(1.5)
