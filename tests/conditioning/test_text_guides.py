"""Autoguidance by a run with another text encoder: each of the two reads the prompt itself."""

import numpy as np
import pytest
import torch

import diffexp
from diffexp.condition import Asked
from diffexp.diffusion import Autoguidance
from diffexp.errors import ConfigError
from diffexp.model.guides import guide_of

ALLOWED = ["listener", "plugins"]


def test_a_guide_reads_the_prompt_by_its_own_encoder(runs):
    """Other words, another length, classes less: x̂0 lies on the line through what each says alone."""
    model, other, third = (diffexp.load(runs.trained(r), plugins=ALLOWED) for r in ("words", "bytes", "both"))
    texts = ("a bright left half", "a bright top half", "bright")
    x, t = torch.randn(3, 1, 8, 8), torch.tensor(0.4, dtype=torch.float64)
    for better, worse in ((model, other), (third, model), (model, model)):
        asked = Asked(3, torch.arange(3), texts)
        led = better.helped({"guide": guide_of("guide", worse, better)})
        cond = led.condition(asked, guided=True)
        good, bad = (one.denoiser(x, t, one.condition(asked)).x0 for one in (better, worse))
        for w in (0.0, 2.5):
            x0 = Autoguidance(w).wrap(led)(x, t, cond).x0
            torch.testing.assert_close(x0, bad + w * (good - bad), rtol=0, atol=1e-5)
        one = Autoguidance(2.5).wrap(led)(x[1:2], t, cond[torch.tensor([1])]).x0  # rows go along
        torch.testing.assert_close(one, x0[1:2], rtol=0, atol=1e-5)
        twice = Autoguidance(2.5).wrap(led)(x.repeat_interleave(2, 0), t, cond.repeat_interleave(2)).x0
        torch.testing.assert_close(twice[::2], x0, rtol=0, atol=1e-5)
        with pytest.raises(ValueError, match="this condition says not what guide is told"):
            Autoguidance(2.5).wrap(led)(x, t, led.condition(asked))


def test_a_guide_that_wants_more_than_is_asked_for_is_refused(runs):
    words, both = (diffexp.load(runs.trained(r), plugins=ALLOWED) for r in ("words", "both"))
    with pytest.raises(ConfigError, match="the guide wants classes, which are not asked for of this model"):
        guide_of("guide", both, words)
    few = diffexp.load(runs.trained("both"), plugins=ALLOWED)
    few.class_names = ("one", "two")
    with pytest.raises(ConfigError, match="the guide knows 2 classes, and the model 4"):
        guide_of("guide", few, both)
    few.shape = (1, 4, 4)
    with pytest.raises(ConfigError, match="the guide is of other images than the model"):
        guide_of("guide", few, both)


def test_at_scale_0_a_guide_of_other_words_is_that_run_itself(runs):
    """From the command line, of the same prompts and noise."""
    prompts, more = "task.prompts=[a bright left half,top]", ["task.npz=true", "task.files=false"]
    own, _ = runs.sampled("bytes", "itself", prompts, *more)
    guided = ["guidance=auto", "guidance.ema=0", f"guidance.ckpt={runs.trained('bytes')}"]
    led, half = (
        runs.sampled("words", f"led{scale}", prompts, *more, *guided, f"guidance.scale={scale}")[0]
        for scale in (0, 2)
    )
    odd = ["task.prompts=[a brigth left half]", *guided[:2], f"guidance.ckpt={runs.trained('words')}", *more]
    _, said = runs.sampled("bytes", "odd", *odd, "guidance.scale=2")
    assert "guide: words that the model does not know are left out: brigth (nearest: bright)" in said
    a, b, c = (np.load(folder / "samples" / "samples.npz")["images"] for folder in (own, led, half))
    assert (a == b).all() and (a != c).any()
