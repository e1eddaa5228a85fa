"""Each examination, of an optimal denoiser and of one that is sick in one way."""

import pytest
import torch
from patients import DATA, SCHEDULE, Otherwise, gaussian, ideal, patient

from diffexp.codecs import Codec
from diffexp.codecs.pixels import of_bytes, to_bytes
from diffexp.conditioning import ClassLabel, Text
from diffexp.conditioning.encoders import Words
from diffexp.data import DigitsText
from diffexp.diffusion import ClassifierFree, Denoiser, Eps, FixedSmall, NoClip, V, linear
from diffexp.doctor import examine
from diffexp.doctor.examinations import (
    averaging,
    captions,
    clipping,
    decoding,
    dropping,
    following,
    guiding,
    learning,
    memory,
    order,
    scheduling,
    steps,
)
from diffexp.doctor.examined import every, fits
from diffexp.doctor.pictured import Pictured
from diffexp.errors import ConfigError
from diffexp.samplers import DDIM


def one(findings):
    assert len(findings) == 1
    return findings[0]


def test_one_step_is_too_few_and_forty_are_not():
    few = one(steps.examine(patient(sampler=DDIM(steps=1), n=200)))
    assert few.ill and few.cause == "too few steps of the sampler" and few.do[0][-1] == "sampler.steps=20"
    assert "with 1 steps" in few.saw and few.pictures
    many = one(steps.examine(patient(sampler=DDIM(steps=40))))
    assert not many.ill and many.do[0][-1] == "sampler.steps=80"
    assert steps.examine(patient(sampler=DDIM(steps=2, spacing=(1000, 500)))) == []


def test_a_second_order_is_tried_at_as_many_calls():
    found = one(order.examine(patient(sampler=DDIM(steps=8))))
    assert "at 8 calls" in found.saw and "sampler=dpm_solver_pp_2m" in found.do[0]


def test_an_average_that_lags_is_named_and_one_that_does_not_is_not():
    lags = patient(ideal(network=gaussian()), others={"false": ideal()})
    found = one(averaging.examine(lags))
    assert found.ill and found.cause == "an average of the weights that lags behind"
    assert found.do[0][-1] == "task.ema=false"
    assert not one(averaging.examine(patient(ideal(), others={"false": ideal(network=gaussian())}))).ill
    raw = one(averaging.examine(patient(ideal(network=gaussian()), others={"true": ideal()})))
    assert raw.ill and raw.cause == "weights that are not averaged"


def test_a_network_that_magnifies_errors_wants_clipping():
    class Off(torch.nn.Module):
        """ε with a small error, which 1/α makes large."""

        def __init__(self):
            super().__init__()
            self.inner = ideal(prediction=Eps()).denoiser.network

        def forward(self, x, noise, cond=None):
            return self.inner(x, noise, cond) + 0.02

    model = ideal(prediction=Eps(), network=lambda **_: Off())
    found = one(clipping.examine(patient(model, clip=NoClip(), sampler=DDIM(steps=20))))
    assert found.ill and "predicts eps" in found.saw and found.do[0][-1] == "clip=static"
    assert clipping.examine(patient(model)) == []  # it is clipped
    assert not one(clipping.examine(patient(ideal(), clip=NoClip()))).ill


def test_too_much_guidance_and_what_is_followed():
    found = guiding.examine(patient(guidance=ClassifierFree(scale=15.0)))
    high = found[0]
    assert high.cause == "too much guidance" and high.rows is not None and len(high.rows[1]) == 4
    low = guiding.examine(patient())
    assert [f.cause for f in low] == ["too little guidance"] and not low[0].ill
    assert guiding.examine(patient(ideal(conditioning=ClassLabel(0.0)))) == []


def test_a_null_that_was_never_trained_is_worse_than_a_wrong_class():
    model = ideal()
    model.denoiser.network = Otherwise(model.denoiser.network)
    guided = ClassifierFree(scale=5.0)
    found = one(dropping.examine(patient(model, guidance=guided)))
    assert found.ill and "conditioning.dropout=0.1" in found.do[0]
    assert not one(dropping.examine(patient(ideal(), guidance=guided))).ill
    assert dropping.examine(patient(model)) == []  # nothing is guided
    refused = one(dropping.examine(patient(ideal(), refused=ConfigError("refused", "guidance.scale", "x"))))
    assert refused.strength == 5 and refused.saw.startswith("refused")


def test_a_class_that_makes_no_difference_is_told_from_one_that_says_nothing():
    used = one(following.examine(patient()))
    assert not used.ill and used.cause == "the class was not learnt"
    blind = one(following.examine(patient(ideal(network=gaussian()))))
    assert blind.ill and blind.cause == "the class was not learnt"

    class Dealt(type(DATA)):
        def read(self):
            splits = super().read()
            dealt = torch.randperm(1437, generator=torch.Generator().manual_seed(3))
            return splits._replace(train=type(splits.train)(splits.train.images, splits.train.labels[dealt]))

    mixed = one(following.examine(patient(ideal(network=gaussian()), data=Dealt())))
    assert mixed.ill and mixed.cause == "the class says nothing of its image"


def test_captions_that_are_cut_and_words_that_are_not_known():
    data = DigitsText()
    conditioning = Text(Words(length=3))
    conditioning.fit([text for text in data.split("train").captions.every() if "red" not in text])
    model = ideal()
    model.conditioning = conditioning
    cut, unknown = captions.examine(patient(model, data=DATA).__class__(**_with(patient(model), data)))
    assert cut.ill and "longer than the 3 words" in cut.saw
    assert unknown.ill and "red" in unknown.saw
    assert captions.examine(patient()) == []


def _with(of, data):
    parts = {name: getattr(of, name) for name in type(of).__dataclass_fields__ if not name.startswith("_")}
    return parts | {"data": data}


class Halved(Codec):
    """Every second pixel, and nothing between."""

    def latent(self, shape):
        return shape[0], shape[1] // 2, shape[2] // 2

    def encode(self, image, noise=None):
        return of_bytes(image)[..., ::2, ::2]

    def decode(self, x):
        return to_bytes(x).repeat_interleave(2, -1).repeat_interleave(2, -2)


def test_a_codec_that_loses_much_is_named():
    found = one(decoding.examine(patient(ideal(codec=Halved()), n=120)))
    assert found.ill and "reconstructions" in found.saw and found.do[0][0] == "task=autoencoder"
    assert decoding.examine(patient()) == []


def test_the_schedule_of_the_training_is_found():
    """The network is one of the cosine schedule, and is sampled as one of the linear schedule."""
    wrong = ideal()
    inner = wrong.denoiser
    wrong.denoiser = Denoiser(inner.network, linear(), V(), FixedSmall())
    found = one(scheduling.examine(patient(wrong)))
    assert found.ill and "schedule=cosine" in found.saw and "schedule=cosine" in found.do[0]
    assert not one(scheduling.examine(patient())).ill
    told = ideal(prediction=V(time="log_sigma"))
    assert scheduling.examine(patient(told)) == []  # it is told the noise


def test_a_network_that_has_not_learnt_is_no_better_than_linear():
    found = one(learning.examine(patient(ideal(network=gaussian()))))
    assert found.ill and found.rows is not None and len(found.rows[1]) == 8
    assert not one(learning.examine(patient())).ill


@pytest.mark.parametrize(
    ("losses", "cause"),
    [
        ([1.0, 2.0] * 20, "a learning rate that is too high"),
        ([40.0 - i for i in range(40)], "a training that is not finished"),
        ([1.0] * 40, "a network that has not learnt"),
    ],
)
def test_the_history_says_why_it_has_not_learnt(tmp_path, losses, cause):
    text = "\n".join(f'{{"train/loss": {loss}}}' for loss in losses)
    (tmp_path / "metrics.jsonl").write_text(text)
    assert one(learning.examine(patient(ideal(network=gaussian()), run=tmp_path))).cause == cause


def test_what_was_learnt_by_heart_is_seen_in_its_samples():
    found = one(memory.examine(patient(n=60)))
    assert found.ill and "copies" in found.pictures and "AuthPct" in found.saw
    unseen = ideal(split="test")
    assert "0.0% of samples are copies" in one(memory.examine(patient(unseen, n=60))).saw


def test_findings_are_ordered_and_an_examination_that_fails_costs_itself(monkeypatch):
    def fails(patient):
        raise ConfigError("no such thing", "here", "there")

    some = [("a", fails), ("b", steps.examine), ("c", scheduling.examine), ("d", lambda patient: [])]
    monkeypatch.setattr("diffexp.doctor.examined.every", lambda: iter(some))
    found = examine(patient(sampler=DDIM(steps=1), n=200))
    assert found.failed == {"a": "no such thing"} and found.nothing == ["d"]
    assert [f.cause for f in found.causes] == ["too few steps of the sampler"]
    assert found.findings == sorted(found.findings, key=lambda f: -f.strength)
    assert examine(patient(), ["d"]).findings == []


def test_every_file_is_an_examination():
    names = [name for name, _ in every()]
    assert len(names) == 16 and {"steps", "memory", "decoding"} <= set(names)
    of_images = [name for name, run in every() if fits(run, object.__new__(Pictured))]
    assert of_images == ["collapse", "drift", "judging", "looks", "memory"]
    assert SCHEDULE.T == 1000
