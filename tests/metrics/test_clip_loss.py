"""The term that draws x0 to its caption: its value, its gradient, where it is, and its errors."""

import json

import pytest
import torch
import torch.nn.functional as F
from captioned import QUICK, Runs

from diffexp.diffusion import Chain, Denoiser, FixedSmall, Objective, Uniform, V, cosine
from diffexp.diffusion.schedule import Level
from diffexp.errors import ConfigError, DataError
from diffexp.metrics import CLIPEmbedding, CLIPLoss
from diffexp.randomness import generator

TEXTS = ["a red three", "a blue one", "a cat"]


def images(seed, n=3, size=16, dtype=torch.float32):
    return torch.rand(n, 3, size, size, generator=generator(seed)).to(dtype) * 2 - 1


def level(*ratios):
    angle = torch.tensor(ratios, dtype=torch.float64).atan().view(-1, 1, 1, 1)
    return Level(angle.cos(), angle.sin())


NEAR = level(0.1, 0.2, 0.3)


@pytest.fixture
def term(clip):
    return CLIPLoss(model=str(clip))


def test_it_is_1_minus_the_cosine_of_image_and_caption(clip, term):
    """Of whole levels at CLIP's own size, for which the score rounds nothing."""
    whole = (images(0, size=32) * 127.5 + 127.5).round()
    score = CLIPEmbedding(str(clip))
    score.check((3, 32, 32))
    want = 1 - F.cosine_similarity(score(whole.byte()), score.texts(TEXTS))
    x = whole / 127.5 - 1
    torch.testing.assert_close(term(x, images(1), NEAR, TEXTS), want, rtol=0, atol=1e-6)
    grey = x[:, :1]
    torch.testing.assert_close(
        term(grey, grey, NEAR, TEXTS), term(grey.expand(-1, 3, -1, -1), x, NEAR, TEXTS)
    )


def test_its_gradient_is_that_of_finite_differences(term):
    term.check()
    term.clip.net.double()
    x = images(2, dtype=torch.float64).requires_grad_()
    (slope,) = torch.autograd.grad(term(x, x, NEAR, TEXTS).sum(), x)
    for seed in range(3):
        step = 1e-5 * torch.randn(x.shape, generator=generator(seed, "step"), dtype=torch.float64)
        with torch.no_grad():
            ahead, behind = (term(x + d, x, NEAR, TEXTS).sum() for d in (step, -step))
        assert float(ahead - behind) == pytest.approx(2 * float((slope * step).sum()), rel=1e-5)
    assert slope.flatten(1).norm(dim=1).min() > 0
    assert all(weight.grad is None for weight in term.clip.parameters())


def test_noisier_images_and_empty_captions_add_nothing(clip):
    x, texts = images(3, 4).requires_grad_(), [*TEXTS, " "]
    term = CLIPLoss(model=str(clip), below=0.5)
    losses = term(x, x, level(0.4, 0.5, 0.1, 0.1), texts)
    (slope,) = torch.autograd.grad(losses.sum(), x)
    assert (losses > 0).tolist() == [True, False, True, False]
    assert slope.flatten(1).any(1).tolist() == [True, False, True, False]
    alone = term(x[2:3], x[2:3], level(0.1), texts[2:3])
    torch.testing.assert_close(alone, losses[2:3])
    assert not term(x, x, level(0.5, 2.0, 9.0, float("inf")), texts).any()
    assert CLIPLoss(model=str(clip), below=float("inf"))(x, x, level(2.0, 3.0, 4.0, 5.0), texts)[:3].all()


def test_a_caption_is_encoded_once_and_the_same_in_any_batch(clip, monkeypatch):
    seen, texts = [], CLIPEmbedding.texts
    monkeypatch.setattr(CLIPEmbedding, "texts", lambda self, some: seen.extend(some) or texts(self, some))
    a, b = CLIPLoss(model=str(clip)), CLIPLoss(model=str(clip))
    a.check()
    b.check()
    seen.clear()
    long = ["a caption that is longer than the others", *TEXTS]
    one, other = a._embedded(TEXTS), b._embedded(long)[1:]
    assert torch.equal(one, other) and seen == [*TEXTS, *long]
    a._embedded(TEXTS * 5)
    assert seen == [*TEXTS, *long]


def test_what_validation_has_encoded_serves_in_training(term):
    with torch.inference_mode():
        want = term(images(4), images(4), NEAR, TEXTS)
    x = images(4).requires_grad_()
    losses = term(x, x, NEAR, TEXTS)
    losses.sum().backward()
    assert torch.equal(losses, want) and x.grad.abs().max() > 0


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x, t, cond=None):
        return self.conv(x)


def test_the_objective_adds_it_with_its_scale_where_there_is_little_noise(clip):
    denoiser = Denoiser(Net(), cosine(), V(), FixedSmall())
    term = CLIPLoss(scale=0.5, model=str(clip))
    x0, noise = images(5), torch.randn(3, 3, 16, 16, generator=generator(6))
    t = torch.tensor([100, 400, 900]).double() / 1000
    plain, both = (Objective(Uniform(), Chain(), terms=terms) for terms in ({}, {"clip": term}))
    assert both.captioned and not plain.captioned
    alone, losses = plain.at(denoiser, x0, None, t, noise), both.at(denoiser, x0, None, t, noise, None, TEXTS)
    at = cosine()(t.view(-1, 1, 1, 1))
    x0_hat = denoiser((at.alpha * x0 + at.sigma * noise).float(), t.view(-1, 1, 1, 1)).x0
    want = 0.5 * term(x0_hat, x0, at, TEXTS).detach()
    assert (want > 0).tolist() == [True, True, False]
    torch.testing.assert_close(losses.parts["clip"], want, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(losses.each, alone.each + want, rtol=1e-4, atol=1e-6)
    drawn = both(denoiser, x0, None, generator(7), texts=TEXTS)
    (grad,) = torch.autograd.grad(losses.loss - alone.loss, denoiser.network.conv.weight)
    assert grad.abs().max() > 0 and "clip" in drawn.parts
    assert not list(both.parameters())
    with pytest.raises(ConfigError, match=r"terms\.clip compares images with their captions, and the data"):
        both(denoiser, x0, None, generator(7))
    plain.check_captions(None)


@pytest.mark.parametrize("options", [{"scale": -1.0}, {"below": 0.0}, {"below": float("nan")}])
def test_numbers_that_make_no_sense_are_refused(options):
    with pytest.raises(ConfigError, match=r"at: terms\.clip"):
        CLIPLoss(**options)


def test_a_folder_without_all_of_clip_is_refused_by_the_keys_of_the_term(clip, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(DataError, match="is no folder, and cannot be downloaded") as error:
        CLIPLoss(model=str(tmp_path / "none")).check()
    assert "terms.clip.model=PATH" in error.value.do
    with pytest.raises(DataError, match="there are no weights in this folder"):
        CLIPLoss(model=str(tmp_path)).check()
    with pytest.raises(DataError, match="the sha256 of this file is"):
        CLIPLoss(model=str(clip), sha256="0" * 64).check()
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((clip / name).read_bytes())
    with pytest.raises(DataError, match=r"neither tokenizer[.]json nor vocab[.]json in it") as error:
        CLIPLoss(model=str(tmp_path)).check()
    assert error.value.do == "give another by terms.clip.model=PATH"


def test_a_run_trains_with_it_and_is_refused_without_captions(clip, tmp_path):
    """Also where the network is told no captions."""
    runs, typed = Runs(tmp_path), ["terms=clip", f"terms.clip.model={clip}"]
    small = [text for text in QUICK if "max_steps" not in text and "network" not in text]
    small = [*small, "trainer.max_steps=2", "network=unet_tiny", "network.channels=8"]
    folder, _ = runs.done("run", *small, *typed)
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert any(row.get("train/loss_clip", 0) > 0 for row in rows), rows
    code, said = runs.type(*small, *typed, "data=digits", "dir=no")
    assert code == 2 and "terms.clip compares images with their captions, and the data has none" in said
    code, said = runs.type(*small, "terms=clip", f"terms.clip.model={tmp_path}", "dir=no")
    assert code == 3 and "there are no weights in this folder" in said
