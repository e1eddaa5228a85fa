"""Runs that adapt another one: what is trained and stored, that they go on, and what is refused."""

import shutil
import sys

import numpy as np
import pytest
import torch
from adapters.conftest import LINE, SOME, go, held

import diffexp
from diffexp.condition import Condition
from diffexp.errors import ConfigError, DataError
from diffexp.model.restore import restore
from diffexp.model.trainable import Full


def asked():
    torch.manual_seed(0)
    return torch.randn(5, 1, 8, 8), torch.rand(5), Condition(label=torch.tensor([0, 3, 9, 10, 1]))


def answer(model):
    with torch.no_grad():
        return model.denoiser.network(*asked())


@pytest.mark.parametrize("kind", SOME)
def test_adapters_alone_are_trained_averaged_and_stored(runs, kind, capsys):
    base, run = held(runs.base()), held(runs.adapted(f"tune={kind}"))
    out = capsys.readouterr().out
    names = [name for state in (run["trained"], *run["ema"]) for name in state]
    assert names and all(".default" in name for name in names)
    moments = [s["exp_avg"].numel() for s in run["optimizer_states"][0]["state"].values()]
    numbers = sum(value.numel() for value in run["trained"].values())
    assert sum(moments) == numbers < 0.7 * sum(v.numel() for v in base["trained"].values())
    assert f" {numbers:,} numbers of rank 4 in " in out or not out  # not where it was trained before
    a, b = run["trained"], run["ema"][0]
    assert any(not torch.equal(a[name], b[name]) for name in a)
    assert set(run["diffexp"]["base"]) == {"denoiser.network"}
    assert run["diffexp"]["base_file"] == str(runs.base() / "checkpoints" / "last.ckpt")


@pytest.mark.parametrize("kind", SOME)
def test_an_adapted_run_begins_as_its_base_bit_for_bit(runs, kind):
    """After a step with a rate next to nothing: dropout, the average and the file are in between."""
    still = ["trainer.max_steps=1", "optimizer.weight_decay=0"]
    run = runs.adapted(f"tune={kind}", *still, rate=1e-38)
    assert torch.equal(answer(diffexp.load(run)), answer(diffexp.load(runs.base())))


@pytest.mark.parametrize("kind", SOME)
def test_an_adapted_run_is_another_model_than_its_base(runs, kind):
    run = runs.adapted(f"tune={kind}")
    assert (answer(diffexp.load(run)) - answer(diffexp.load(runs.base()))).abs().max() > 1e-3


def test_a_run_that_was_stopped_goes_on_as_one_that_was_not(runs, tmp_path):
    typed = [*LINE, f"init={runs.base()}", "optimizer.lr=0.05", "tune=lora", "tune.dropout=0.2", "lr.steps=6"]
    go(tmp_path / "whole", *typed)
    go(tmp_path / "parts", *typed, "trainer.max_steps=3")
    go(tmp_path / "parts", *typed)
    whole, parts = held(tmp_path / "whole"), held(tmp_path / "parts")
    for key in ("trained", "ema"):
        a, b = (x[key] if key == "trained" else x[key][0] for x in (whole, parts))
        assert a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_a_base_that_was_moved_is_asked_for_and_another_is_refused(runs, tmp_path):
    moving = shutil.copytree(runs.base(), tmp_path / "moving")
    typed = [*LINE, f"init={moving}", "tune=lora", "trainer.max_steps=2", "lr.steps=3"]
    go(tmp_path / "run", *typed)
    before = answer(diffexp.load(tmp_path / "run"))
    moving.rename(tmp_path / "moved")
    with pytest.raises(DataError, match=r"the run below these adapters is not there: .*\n.*\n.*=PATH"):
        diffexp.load(tmp_path / "run")
    sample = ["task=sample", "logger=none", f"task.ckpt={tmp_path / 'run'}", "task.n=2", "task.files=false"]
    go(tmp_path / "samples", *sample, f"tune.base={tmp_path / 'moved'}")
    assert torch.equal(answer(diffexp.load(tmp_path / "run", base=str(tmp_path / "moved"))), before)
    other = runs.base("trainer.max_steps=2")
    with pytest.raises(DataError, match=r"denoiser.network has other weights than .*\n.*\n.*tune.base=any"):
        go(tmp_path / "x", *sample, f"tune.base={other}")
    shutil.copytree(other, moving)
    with pytest.raises(DataError, match=r"denoiser\.network has other weights"):
        go(tmp_path / "run", *typed[:-2], "trainer.max_steps=3", "lr.steps=3")
    go(tmp_path / "run", *typed[:-2], "trainer.max_steps=3", "lr.steps=3", "tune.base=any")
    assert held(tmp_path / "run")["diffexp"]["base"] != held(runs.adapted("tune=lora"))["diffexp"]["base"]


def test_any_base_is_said(runs, tmp_path, capsys):
    moving = shutil.copytree(runs.base(), tmp_path / "moving")
    go(tmp_path / "run", *LINE, f"init={moving}", "tune=lora", "trainer.max_steps=1")
    shutil.rmtree(moving)
    shutil.copytree(runs.base("trainer.max_steps=2"), moving)
    restore(tmp_path / "run", base="any")
    said = capsys.readouterr().err
    assert "denoiser.network has other weights than those that the run was trained on, and those of" in said


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["tune=lora"], r"tune=lora adapts another run\n  at: init\n  do: type init=RUN"),
        (["tune=lora", "tune.rank=0"], "rank=0"),
        (["tune=lora", "tune.rank=20000"], "give at most 16,384"),
        (["tune=lora", "tune.alpha=0"], "alpha=0"),
        (["tune=lora", "tune.dropout=1"], r"give a share in \[0, 1\)"),
        (["tune=lora", "tune.rates={down.*:-1}"], "give a factor above 0"),
        (["tune=full", "tune.rates={down.*:abc}"], "give a factor above 0"),
        (["tune=full", "tune.rates=[1,2]"], "give patterns with their factors"),
        (["tune=lora", "tune.ranks=3"], "ranks"),
    ],
)
def test_what_makes_no_adapter_is_refused(tmp_path, typed, said):
    with pytest.raises(Exception, match=said):
        go(tmp_path / "x", *LINE, *typed)


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (
            ["tune.modules=[*.qvk]"],
            r"no layer of the network has a name as \*.qvk\n.*\n  do: there are .*qkv",
        ),
        (["tune.modules=[zzzz]"], r"do: there are \*\.\w+, "),
        (["tune.text_encoder=true"], "there is no text encoder that is trained along"),
        (["network.channels=4"], r"network.channels=8 there, 4 here\n.*\n  do: type network.channels=8"),
        (["network.heads=2"], "network.heads=1 there, 2 here"),
        (["prediction=eps"], "prediction._target_=diffexp.diffusion.V there, diffexp.diffusion.Eps here"),
    ],
)
def test_what_does_not_fit_the_base_is_refused(runs, tmp_path, typed, said):
    with pytest.raises(ConfigError, match=said):
        go(tmp_path / "x", *LINE, f"init={runs.base()}", "tune=lora", *typed)
    assert not (tmp_path / "x").exists()


def test_a_text_encoder_is_adapted_with_the_words_of_the_base(runs):
    typed = [*LINE, "data=digits_text", "conditioning=text", "trainer.max_steps=1"]
    typed += ["text_encoder.width=8", "text_encoder.layers=1"]
    base = runs.trained(*typed)
    run = held(runs.trained(*typed, f"init={base}", "tune=lora", "tune.text_encoder=true", "tune.rank=2"))
    own = {name.split(".lora")[0] for name in run["trained"] if name.startswith("conditioning.")}
    ends = ("narrow", "proj", "qkv", "wide")
    assert own == {f"conditioning.encoder.blocks.0.{end}" for end in ends}
    assert run["diffexp"]["learned"] == held(base)["diffexp"]["learned"]
    assert set(run["diffexp"]["base"]) == {"denoiser.network", "conditioning"}


def test_a_rank_above_the_size_of_a_layer_is_said(runs, tmp_path, capsys):
    typed = [*LINE, f"init={runs.base()}", "trainer.max_steps=1", "dry_run=true"]
    go(tmp_path / "a", *typed, "tune=lora", "tune.rank=9", "tune.modules=[conv_in,*.qkv]")
    out = capsys.readouterr().out
    assert "(conv_in 1, *.qkv 4)" in out
    assert "the rank is above the size of 1 of them, where it adds nothing: conv_in" in out
    go(tmp_path / "b", *typed, "tune=loha", "tune.rank=9", "tune.modules=[conv_in]")
    assert "above the size" not in capsys.readouterr().out


def test_frozen_weights_stay_and_rates_are_those_of_their_patterns(runs, tmp_path):
    typed = [*LINE, f"init={runs.base()}", "trainer.max_steps=1", "lr=constant", "optimizer.weight_decay=0"]
    go(tmp_path / "a", *typed, "tune.freeze=[down.*]", "tune.rates={up.*:0.25,conv_out.*:0.5}")
    before, after = held(runs.base())["ema"][0], held(tmp_path / "a")
    for name, value in after["trained"].items():
        assert torch.equal(value, before[name]) == name.startswith("denoiser.network.down."), name
    assert set(after["trained"]) == set(before)
    optimizer = after["optimizer_states"][0]
    rates = [group["lr"] for group in optimizer["param_groups"]]
    assert rates == [pytest.approx(f * rates[0]) for f in (1, 0.25, 0.5)]
    step = {n: (after["trained"][n] - before[n]).abs().max() for n in after["trained"]}
    part = {p: max(v for n, v in step.items() if f".{p}." in n) for p in ("middle", "up", "conv_out")}
    assert part["up"] / part["middle"] == pytest.approx(0.25, rel=0.01)
    assert part["conv_out"] / part["middle"] == pytest.approx(0.5, rel=0.01)
    assert len(diffexp.load(tmp_path / "a").state_dict()) == len(before)
    with pytest.raises(ConfigError, match=r"dwon\.\* .*here\n  at: tune.freeze\n  do: there are down\.\*"):
        go(tmp_path / "b", *typed, "tune.freeze=[dwon.*]")
    with pytest.raises(ConfigError, match=r"dwon\.\* names nothing here\n  at: tune.rates"):
        go(tmp_path / "b", *typed, "tune.rates={dwon.*:0.5}")
    with pytest.raises(ConfigError, match="all weights are frozen"):
        go(tmp_path / "b", *typed, "tune.freeze=['*']")
    assert not (tmp_path / "b").exists()


def test_adapters_are_no_weights_to_begin_with_nor_a_base(runs, tmp_path):
    run = runs.adapted("tune=lora")
    for tune in ("full", "lora"):
        with pytest.raises(DataError, match=r"this run holds adapters.*\n.*\n  do: export it, task=export"):
            go(tmp_path / "x", *LINE, f"init={run}", f"tune={tune}")


def test_a_base_is_of_adapted_runs_alone(runs, tmp_path):
    with pytest.raises(ConfigError, match="this run adapts no other"):
        diffexp.load(runs.base(), base="any")
    with pytest.raises(ConfigError, match="tune is of the training run"):
        go(tmp_path / "x", "task=sample", f"task.ckpt={runs.base()}", "tune=lora", "logger=none")


def test_the_tune_of_a_strangers_checkpoint_is_of_the_catalogue(runs, tmp_path):
    folder = shutil.copytree(runs.adapted("tune=lora"), tmp_path / "run")
    checkpoint = held(folder)
    path = folder / "checkpoints" / "last.ckpt"
    path.with_name("last.ckpt.json").unlink()
    tune = dict(checkpoint["diffexp"]["config"]["tune"])
    for change, said in (
        ({"_target_": "os.system"}, "os.system may not be built from a file as tune"),
        ({"rank": 1 << 40}, "give at most 16,384"),
        ({"rank": 64}, "of another size"),
        ({"modules": ["*.proj"]}, "not of this model"),
        ({"modules": ["*"] * 2000}, "too many"),
    ):
        checkpoint["diffexp"]["config"]["tune"] = tune | change
        torch.save(checkpoint, path)
        with pytest.raises((ConfigError, DataError), match=said):
            diffexp.load(folder)


def test_without_peft_it_is_said_what_to_install(runs, monkeypatch):
    run = runs.adapted("tune=lora")
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(
        ConfigError, match=r"adapters need peft .*\n.*\n  do: type: pip install 'diffexp\[adapters"
    ):
        diffexp.load(run)


def test_a_run_of_before_there_was_a_choice_is_a_full_one():
    from diffexp.model.restore import tune_of

    assert tune_of({}) == Full()


def test_the_latents_of_an_adapted_run_have_the_scale_of_its_base(runs, tmp_path):
    """Or the base would be asked about others than those that it was trained on."""
    typed = ["task=autoencoder", "data=digits", "trainer.max_steps=2", "logger=none", "metrics=none"]
    go(tmp_path / "auto", *typed)
    latent = [*LINE, "codec=autoencoder", f"codec.ckpt={tmp_path / 'auto'}", "network=unet_latent"]
    latent += ["network.channels=8", "trainer.max_steps=1", f"codec.folder={tmp_path}"]
    go(tmp_path / "base", *latent)
    images = np.random.default_rng(0).integers(0, 255, (200, 8, 8, 1), dtype=np.uint8)
    np.savez(tmp_path / "other.npz", images=images, labels=np.arange(200) % 10)
    other = ["data=npz", f"data.path={tmp_path / 'other.npz'}"]
    tuned = [*latent, f"init={tmp_path / 'base'}", *other]
    go(tmp_path / "lora", *tuned, "tune=lora")
    go(tmp_path / "full", *tuned)
    scales = [held(tmp_path / name)["diffexp"]["codec"] for name in ("base", "lora", "full")]
    assert scales[0]["factor"][0] > 0 and scales[0] == scales[1] == scales[2]
    go(tmp_path / "other", *typed, "seed=1")
    with pytest.raises(ConfigError, match="the base was trained in the latents of another autoencoder"):
        go(tmp_path / "x", *tuned, "tune=lora", f"codec.ckpt={tmp_path / 'other'}")
