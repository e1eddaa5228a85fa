"""Each plug-in is trained, killed, gone on with, restored, sampled and measured like a part of our own."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch

import diffexp
import diffexp.errors
from diffexp.data import Batch
from diffexp.diffusion import ClassifierFree
from diffexp.diffusion.prediction import target
from diffexp.errors import DataError
from diffexp.model.ask import ask
from diffexp.samplers import DDIM, generate
from plugins.conftest import BASIC, HERE, PLAIN, QUICK, RECIPES, checkpoint, results, tensors

each = pytest.mark.parametrize("recipe", RECIPES)
SLOW, LIKE_DIT = pytest.mark.slow, ("flow", "guidance", "lora", "encoder")  # whose training is like another's
TEXT = ["a bright left half", "a bright top half"]


def lines(folder):
    told = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in ("seconds", "train/images_per_s")} for line in told]


@pytest.mark.parametrize("recipe", [pytest.param(r, marks=SLOW if r in LIKE_DIT else ()) for r in RECIPES])
def test_a_killed_run_ends_as_the_unbroken_one(runs, recipe):
    whole = runs.trained(recipe)
    typed = [*runs.recipe(recipe), f"dir={recipe}/killed"]
    code, said = runs.type(*typed, "+callbacks.kill={_target_: plugins.killed.Killed, at: 3}")
    assert code == -9, said
    code, said = runs.type(*typed)
    assert code == 0 and "going on from step 2" in said
    killed = runs.folder / recipe / "killed"
    a, b = (dict(tensors(checkpoint(folder))) for folder in (whole, killed))
    assert a.keys() == b.keys() and len(a) > 20
    assert [name for name in a if not torch.equal(a[name], b[name])] == []
    assert lines(killed) == lines(whole) and len(lines(whole)) > 4


@each
def test_two_restores_give_the_same_samples_and_guidance_others(runs, recipe):
    plain = runs.sampled(recipe, "plain", *PLAIN, "guidance.scale=1")
    model = diffexp.load(runs.folder / recipe / "run", plugins=["plugins"])
    text = TEXT if "text" in model.conditioning.asks else None
    again = generate(
        model, DDIM(steps=3), torch.arange(8), ask(model, 8, text=text), ClassifierFree(), batch_size=3
    )
    assert torch.equal(again.permute(0, 2, 3, 1), torch.from_numpy(plain))
    assert again.shape[1:] == model.shape == (1, 8, 12 if recipe in ("dit", "lora") else 8)
    guided = runs.sampled(recipe, "guided", *PLAIN, "guidance.scale=2")
    assert (guided != plain).any()


@each
def test_evaluating_says_what_training_said_at_its_end(runs, recipe):
    before = results(runs.trained(recipe))
    after = results(runs.done(f"{recipe}/evaluated", "task=evaluate", f"task.ckpt={recipe}/run"))
    for key in ("half_shown", "half_contrast"):
        assert after[key] == before[key]
    assert after["cards"] == before["cards"] and after["cards"]["half_shown"]["n"] == 16
    assert after["nfe"] == (6 if recipe == "guidance" else 3)


def edited(runs, recipe, name, edit):
    """A copy of a run, with another checkpoint."""
    folder = runs.folder / recipe / name
    shutil.copytree(runs.trained(recipe), folder)
    held = checkpoint(folder)
    edit(held)
    torch.save(held, folder / "checkpoints" / "last.ckpt")
    (folder / "checkpoints" / "last.ckpt.json").unlink()
    return folder


@pytest.mark.parametrize("which", ["trained", "ema"])
def test_a_tensor_too_many_or_too_few_is_refused_by_its_name(runs, which):
    def part(held):
        return held["trained"] if which == "trained" else held["ema"][0]

    more = edited(runs, "words", f"more {which}", lambda c: part(c).update({"conditioning.x": torch.ones(1)}))
    less = edited(runs, "words", f"less {which}", lambda c: part(c).pop("conditioning.table.weight"))
    for folder, text in ((more, "not of this model: conditioning.x$"), (less, "conditioning.table.weight$")):
        with pytest.raises(DataError) as told:
            diffexp.load(folder, which == "ema", plugins=["plugins"])
        assert str(told.value).splitlines()[0].endswith(text.rstrip("$"))


def test_no_plug_in_of_a_checkpoint_is_run_unless_it_is_typed(runs):
    with pytest.raises(diffexp.errors.ConfigError, match=r"type plugins=\[plugins\]"):
        diffexp.load(runs.trained("words"))


# --- words


def test_the_words_that_are_trained_are_stored_and_averaged(runs):
    held = checkpoint(runs.trained("words"))
    name = "conditioning.table.weight"
    tables = [held["trained"][name], *(average[name] for average in held["ema"])]
    assert [tuple(table.shape) for table in tables] == [(256, 16)] * 3
    assert not torch.equal(tables[0], tables[1]) and not torch.equal(tables[1], tables[2])


def test_captions_reach_the_network(runs):
    def sampled(name, *typed):
        return runs.sampled("words", name, *PLAIN, *typed)

    plain, guided = sampled("plain", "guidance.scale=1"), sampled("guided", "guidance.scale=2")
    wrong = sampled("wrong", "guidance.scale=1", "task.text=[a bright right half, a bright top half]")
    assert [(plain[i] != wrong[i]).any() for i in range(8)] == [True, False] * 4
    nothing = sampled("nothing", "guidance.scale=2", "task.negative=''")
    unwanted = sampled("unwanted", "guidance.scale=2", "task.negative=a bright right half")
    assert (guided == nothing).all() and (guided != unwanted).any()


def test_captions_reach_the_metrics(runs):
    """Those of the validation images, in turn."""
    from plugins.halves import Halves
    from plugins.shown import HalfShown

    runs.trained("words")
    model = diffexp.load(runs.folder / "words" / "run", plugins=["plugins"])
    texts = Halves().split("val").texts * 2
    images = generate(model, DDIM(steps=3), torch.arange(16), ask(model, 16, text=texts))
    metric = HalfShown()
    metric.reset()
    metric.update(Batch(images, None, texts, torch.arange(16)), None)
    said = results(runs.folder / "words" / "run")
    assert metric.compute() == {key: said[key] for key in ("half_shown", "half_contrast")}


REFUSED = [
    ("codec=halved", 2, "the codec has weights that no file holds: down.weight, up.weight"),
    ("codec=halved codec.file=no.safetensors", 3, "the codec's weights are not there\n  at: no.safetensors"),
    ("codec=shuffled data.width=7", 2, "8 x 7 cannot be halved"),
    ("codec=shuffled objective=vlb variance=learned_range", 2, "the bound and the terms are of pixels"),
    ("data.width=7", 2, "patch=2 does not divide 8 x 7\n  at: network.patch"),
    ("network=reader conditioning=none", 2, "this network needs token_dim, which neither its"),
    ("conditioning=words", 2, "this network has no token_dim, which the conditioning gives it"),
    ("data=digits", 2, "digits has no captions"),
    ("data=digits conditioning=words network=reader", 2, "this model wants captions, and the data has none"),
    ("guidance=towards guidance.scale=2", 2, "there is no other run while it trains"),
]


@pytest.mark.parametrize(("typed", "expected", "text"), REFUSED, ids=[typed for typed, _, _ in REFUSED])
def test_what_does_not_fit_is_refused_before_training(runs, typed, expected, text):
    code, said = runs.type(*QUICK, "network=dit", *typed.split(), "dir=refused")
    assert (code, text in said) == (expected, True), said
    assert not (runs.folder / "refused").exists()


# --- guidance, flow, sampler, task


def test_what_is_added_is_perpendicular_to_what_it_is_added_to(runs):
    from plugins.guidance import Perpendicular

    model = diffexp.load(runs.trained("guidance"), plugins=["plugins"])
    asked, x = ask(model, 4), torch.randn(4, 1, 8, 8)
    cond, t = model.condition(asked, guided=True), torch.tensor(0.5, dtype=torch.float64)
    plain = model.denoiser(x, t, cond).x0.double()
    added = Perpendicular(3.0).wrap(model)(x, t, cond).x0.double() - plain
    cosine = (added * plain).sum((1, 2, 3)) / (added.flatten(1).norm(dim=1) * plain.flatten(1).norm(dim=1))
    assert cosine.abs().max() < 1e-3 and added.abs().max() > 1e-4


def test_a_guidance_reads_the_other_run_that_it_needs(runs):
    """At scale 2 only that one is left."""
    other = runs.trained("guidance", "other", "seed=1")
    typed = ["guidance=towards", "guidance.scale=2", f"guidance.ckpt={other}", *PLAIN[1:]]
    towards = runs.sampled("guidance", "towards", *typed)
    runs.trained("guidance", "other")
    alone = runs.done(
        "guidance/alone", "task=sample", "task.ckpt=guidance/other", "task.n=8", "task.npz=true", *PLAIN,
        "guidance.scale=1",
    )  # fmt: skip
    images = np.load(alone / "samples" / "samples.npz")["images"]
    assert (towards.astype(int) - images).max() <= 1
    assert (towards != runs.sampled("guidance", "plain", *PLAIN, "guidance.scale=1")).any()


def test_the_straight_path_is_that_of_flow_matching():
    from plugins.flow import Straight, straight

    t = torch.arange(1, 101, dtype=torch.float64) / 100
    level = straight(100)(t)
    assert (level.ratio - t / (1 - t)).abs()[:-1].max() < 1e-12 and level.alpha[-1] == 0
    a, b = target(Straight()(level), level)
    assert (a + 1).abs().max() < 1e-12 > (b - 1).abs().max()  # F = ε − x0


def test_a_sampler_that_keeps_all_noise_is_ddim(runs):
    from plugins.sampler import Renoise

    model = diffexp.load(runs.trained("flow"), plugins=["plugins"])
    schedule, x = model.denoiser.schedule, torch.randn(2, 1, 8, 8)
    cond = model.condition(ask(model, 2))
    with torch.no_grad():
        a, b = (s.sample(model.denoiser, schedule, lambda k: x, cond) for s in (Renoise(kept=1.0), DDIM()))
    assert (a - b).abs().max() < 1e-4
    assert (runs.sampled("flow", "renoised", "sampler=renoise", "sampler.steps=3") >= 0).all()


def test_a_task_of_ones_own_is_run(runs):
    runs.trained("dit")
    folder = runs.done("size", "task=size", "task.ckpt=dit/run")
    held = checkpoint(runs.folder / "dit/run")["trained"]
    assert results(folder)["numbers"] == sum(value.numel() for value in held.values())


# --- ranks


@pytest.mark.slow
@each
def test_two_ranks_learn_what_one_learns(runs, recipe):
    """The same images, times, noise and dropped conditions; sums in another order."""
    one = runs.trained(recipe)
    typed = [*BASIC, *runs.recipe(recipe), "trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2"]
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, str(HERE.parents[1] / "run.py"), *typed, f"dir={recipe}/two"]
    done = subprocess.run(command, cwd=runs.folder, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    two = runs.folder / recipe / "two"
    losses = [[line["train/loss"] for line in lines(f) if "train/loss" in line] for f in (one, two)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5) and len(losses[0]) == 4
    a, b = (dict(tensors({k: checkpoint(f)[k] for k in ("trained", "ema")})) for f in (one, two))
    assert a.keys() == b.keys()
    for name, value in a.items():
        torch.testing.assert_close(value, b[name], rtol=0, atol=1e-4)
    assert results(two)["val/loss"] == pytest.approx(results(one)["val/loss"], rel=1e-4)
    assert results(two)["cards"]["half_shown"]["n"] == 16
