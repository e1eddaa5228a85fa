"""Prior images and the drift, of a base of classes; and the recipe of a new thing, of a base of captions."""

import json

import pytest
import torch
from adapters.conftest import LINE, go, held
from typed import check

import diffexp
from diffexp.data import Mix
from diffexp.diffusion import ClassifierFree, Static
from diffexp.errors import ConfigError
from diffexp.model.ask import ask
from diffexp.samplers import DDIM, generate
from diffexp.training import PriorImages
from diffexp.training.general import base_model, check_same, general

MIX = ["data=mix", "+data@data.parts.own=digits", "+data@data.parts.prior=prior", "data.val=own"]
FEW = ["data.parts.prior.n=12", "data.parts.prior.sampler.steps=2"]
TEXT = [
    *("experiment=digits_text", "data.without=[seven]", "network.channels=16"),
    *("text_encoder.width=8", "trainer.max_steps=1", "evaluator.scales=[]", "metrics.n=16"),
    *("evaluator.pictures=8", "sampler.steps=2", "logger=none"),
]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(folder))
        yield folder


@pytest.fixture(scope="module")
def base(home):
    go(home / "base", *LINE, "optimizer.lr=0.01", "lr.steps=6")
    return home / "base"


@pytest.fixture(scope="module")
def whole(home, base):
    """The results of a training on a mixture, of 4 steps."""
    return tuned(home, base, "whole", *MIX, *FEW, "lr.steps=4", "trainer.max_steps=4")


def prior(base, **more):
    return PriorImages(str(base), DDIM(steps=2), ClassifierFree(), Static(), **{"n": 12, **more})


def tuned(home, base, name, *typed, rate=0.05):
    typed = [*LINE, f"init={base}", "tune=lora", f"optimizer.lr={rate}", "evaluator.drift=24", *typed]
    return go(home / name, *typed)


def test_prior_images_are_those_of_the_base_and_are_kept(home, base, capsys):
    made, model = prior(base).split("train"), diffexp.load(base)
    assert len(made) == 12 and made.labels.tolist() == [*range(10), 0, 1]
    index = torch.arange(12)
    wanted = generate(model, DDIM(steps=2), index, ask(model, 12), batch_size=12)
    assert torch.equal(made.batch(index).image, wanted)
    assert "making 12 prior images by" in capsys.readouterr().out
    assert torch.equal(prior(base).split("val").images, wanted)
    assert "making" not in capsys.readouterr().out
    assert not torch.equal(prior(base, seed=1).split("train").images, wanted)


def test_a_file_that_was_cut_is_made_again(home, base, capsys):
    folder = home / "cut"
    whole = prior(base, folder=str(folder)).split("train").images
    (file,) = folder.glob("*.safetensors")
    file.write_bytes(file.read_bytes()[:-30])
    capsys.readouterr()
    assert torch.equal(prior(base, folder=str(folder)).split("train").images, whole)
    said = capsys.readouterr()
    assert "making 12 prior images" in said.out and "made again, for the file is damaged" in said.err


def test_a_training_on_a_mixture_goes_on_as_one_that_was_not_stopped(home, base, whole, capsys):
    typed = [*MIX, *FEW, "lr.steps=4"]
    tuned(home, base, "parts", *typed, "trainer.max_steps=2")
    tuned(home, base, "parts", *typed, "trainer.max_steps=4")
    a, b = (held(home / name)["trained"] for name in ("whole", "parts"))
    assert a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
    assert (
        "mix_own_prior: 8x8x1 images, 2,874 train, 180 val, 180 test; 10 classes" in capsys.readouterr().out
    )


def test_the_loss_of_each_part_is_logged_and_exact_when_it_goes_on(home, base):
    typed = [*MIX, *FEW, "lr.steps=4", "trainer.log_every_n_steps=4", "trainer.max_steps=4"]
    tuned(home, base, "logged", *typed)
    tuned(home, base, "halves", *typed[:-1], "trainer.max_steps=2")
    tuned(home, base, "halves", *typed)
    files = [home / name / "metrics.jsonl" for name in ("logged", "halves")]
    rows = [[json.loads(line) for line in file.read_text().splitlines()] for file in files]
    (a,), (b,) = ([row for row in some if "train/loss" in row] for some in rows)
    keys = ("train/loss", "train/loss_own", "train/loss_prior")
    assert [a[key] for key in keys] == [b[key] for key in keys] and len({a[key] for key in keys}) == 3
    low, high = sorted(a[key] for key in keys[1:])
    assert low < a["train/loss"] < high


def test_the_drift_is_none_where_nothing_has_changed(home, base, whole):
    often = ["trainer.check_val_every_n_epoch=null", "+trainer.val_check_interval=1", "evaluator.every=1"]
    typed = [*often, "trainer.max_steps=1", "optimizer.weight_decay=0"]
    still = tuned(home, base, "still", *typed, rate=1e-38)
    rows = [json.loads(row) for row in (home / "still" / "metrics.jsonl").read_text().splitlines()]
    assert [row["val/drift_pairs"] for row in rows if "val/drift_pairs" in row] == [0]
    assert still["drift_pairs"] == 0 and still["drift"] == pytest.approx(0, abs=1e-9)
    assert whole["drift_pairs"] > 1e-4 and whole["drift"] > 0.01
    card = whole["cards"]["drift_pairs"]
    assert card["n"] == 24 and 0 < card["standard_error"] < whole["drift_pairs"]


def test_without_a_base_there_is_no_drift(home):
    assert "drift" not in go(home / "alone", *LINE, "evaluator.drift=24", "trainer.max_steps=1")


def test_a_run_that_is_dry_says_what_it_would_make(home, base, capsys):
    typed = [*LINE, f"init={base}", "tune=lora", *MIX, *FEW, "dry_run=true", "data.parts.prior.seed=7"]
    go(home / "dry", *typed)
    assert "12 prior images by" in (out := capsys.readouterr().out) and "are made before training" in out
    assert "making" not in out


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"n": 0}, "n=0"),
        ({"prompts": "a cat"}, "prompts is one text"),
        ({"batch_size": True}, "batch_size=True"),
    ],
)
def test_prior_images_that_cannot_be_are_refused(more, said):
    with pytest.raises(ConfigError, match=said):
        prior("nowhere", **more)


def test_prior_images_want_a_run():
    none = PriorImages(None, DDIM(steps=2), ClassifierFree(), Static())
    data = Mix({"prior": none})
    data.check()
    with pytest.raises(ConfigError, match=r"there is no run that could make.*\n.*\n.*type init=RUN"):
        data.split("train")


def test_a_base_that_is_asked_for_other_things_is_refused(base):
    other = base_model(str(base))
    check_same(other, other.model, "evaluator.drift", "")
    told = diffexp.load(base)
    told.conditioning = type("Words", (torch.nn.Module,), {"asks": frozenset({"text"})})()
    with pytest.raises(ConfigError, match=r"the model is told text, and init=.* label\n.*evaluator.drift"):
        check_same(other, told, "evaluator.drift", "leave it")
    with pytest.raises(ConfigError, match="drift=1"):
        diffexp.metrics.Evaluator(DDIM(), ClassifierFree(), Static(), diffexp.metrics.MetricSet(0), drift=1)


def test_the_recipe_of_a_new_thing_mixes_it_with_what_the_base_makes(home, capsys):
    go(home / "words", *TEXT)
    base = base_model(str(home / "words"))
    texts = general(base, 40, "train").text
    assert len(set(texts)) > 20 and not any("seven" in text for text in texts)
    assert general(base, 3, "train", ["a", "b"]).text == ("a", "b", "a")
    capsys.readouterr()
    some = ["data.parts.prior.n=8", "sampler@data.parts.prior.sampler=heun", "evaluator.drift=8"]
    more = [typed for typed in TEXT if not typed.startswith(("experiment", "data"))]
    made = go(home / "new", "experiment=dreambooth", f"init={home / 'words'}", *more, *some)
    out = capsys.readouterr().out
    assert "mix_instance_prior: 8x8x3 images, 20 train, 5,400 val" in out
    lines = [line.strip() for line in out.partition("\nnext:\n")[2].splitlines() if "python run.py" in line]
    assert len(lines) == 4 and f"init={home / 'words'}" in lines[3] and "tune.rank=16" in lines[3]
    for line in lines:
        check(line)
    assert {"drift", "drift_pairs", "right_concept", "right_digit_concept", "right"} <= set(made)
    assert made["cards"]["right_concept"]["n_concept"] == 8
    go(home / "again", "task=evaluate", f"task.ckpt={home / 'new'}", "metrics.n=8", "logger=none")
    out = capsys.readouterr().out
    assert "right_concept" in out and "making" not in out
