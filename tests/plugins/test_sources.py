"""Weights that come from files of their own: of a codec, of a base below adapters, of a table of words."""

import shutil

import pytest
import torch
from commands import composed
from safetensors.torch import load_file, save_file

import diffexp
import diffexp.errors
from diffexp.condition import Condition
from diffexp.run import ready
from diffexp.tasks.run import run_job
from plugins.conftest import HERE, PLAIN, checkpoint, tensors

ADAPTED, UP = 3282, "denoiser.network.network.back.up"  # rank 2 of each linear layer

# --- codec


def test_the_weights_of_a_codec_are_in_their_own_file_alone(runs):
    held = checkpoint(runs.trained("latent"))
    names = [name for name, _ in tensors({key: held[key] for key in ("trained", "ema", "objective")})]
    assert names and not [name for name in names if "codec" in name]
    network = held["trained"]
    assert network["denoiser.network.into.weight"].shape == (32, 4)  # of latents with 4 channels, patch 1
    assert network["denoiser.network.place"].shape == (16, 32)  # and 4 x 4 places
    assert list(held["diffexp"]["base"]) == ["codec"] and len(held["diffexp"]["base"]["codec"]) == 64
    assert held["diffexp"]["shape"] == [1, 8, 8]


def test_what_clips_pixels_does_not_clip_latents(runs):
    plain = runs.sampled("latent", "plain", *PLAIN, "guidance.scale=1")
    unclipped = runs.sampled("latent", "unclipped", *PLAIN, "guidance.scale=1", "clip=none")
    assert (plain == unclipped).all() and plain.shape == (8, 8, 8, 1)
    pixels = [runs.sampled("dit", f"of {clip}", *PLAIN, f"clip={clip}") for clip in ("static", "none")]
    assert (pixels[0] != pixels[1]).any()


TASKS = ["train", "sample", "evaluate", "encode", "interpolate"]


@pytest.mark.parametrize("task", TASKS)
def test_the_weights_of_a_codec_are_read_once(runs, tmp_path, monkeypatch, task):
    from plugins.latent import Halved

    trained, calls, load = runs.trained("latent"), [], Halved.load
    monkeypatch.setattr(Halved, "load", lambda codec: (calls.append(codec), load(codec)))
    ready._restored.cache_clear()
    own = runs.recipe("latent") if task == "train" else [f"task.ckpt={trained}", f"task={task}"]
    typed = [*own, "plugins=[plugins]", "logger=none", f"dir={tmp_path / 'run'}"]
    cfg, choices = composed([*typed, f"hydra.searchpath=[file://{HERE / 'conf'}]"])
    run_job(cfg, tmp_path / "run", typed, choices)
    assert len(calls) == 1


def test_latents_have_no_likelihood(runs):
    runs.trained("latent")
    code, said = runs.type("task=likelihood", "task.ckpt=latent/run", "dir=bits")
    assert code == 2 and "the likelihood is that of 8-bit pixels" in said


# --- adapters


def test_a_checkpoint_of_adapters_holds_them_alone(runs):
    base, own = checkpoint(runs.trained("dit")), checkpoint(runs.trained("lora"))
    parts = [own["trained"], *own["ema"]]
    assert len(parts) == 3
    for part in parts:
        assert {name.rpartition(".")[2] for name in part} == {"up", "down"}
        assert sum(value.numel() for value in part.values()) == ADAPTED
    moments = [s["exp_avg"] for s in own["optimizer_states"][0]["state"].values()]
    assert sum(value.numel() for value in moments) == ADAPTED
    assert sum(value.numel() for value in base["trained"].values()) > 5 * ADAPTED
    sizes = [(runs.folder / r / "run/checkpoints/last.ckpt").stat().st_size for r in ("dit", "lora")]
    assert sizes[1] < sizes[0] / 2
    assert not torch.equal(parts[0][UP], parts[1][UP]) and not torch.equal(parts[1][UP], parts[2][UP])


def test_adapters_begin_as_their_base(runs):
    from plugins.lora import LoRA

    base = diffexp.load(runs.trained("dit"), plugins=["plugins"]).denoiser.network
    adapted = LoRA((8, 12), 1, 1, str(runs.folder / "dit/run"), num_classes=4, plugins=("plugins",))
    x, t, cond = torch.randn(3, 1, 8, 12), torch.rand(3), Condition(label=torch.tensor([0, 3, 4]))
    assert torch.equal(adapted(x, t, cond), base(x, t, cond))


def test_another_base_is_refused_by_its_name(runs):
    """Here it has been trained for longer since."""
    shutil.copytree(runs.trained("dit"), runs.folder / "moving")
    here = f"network.base={runs.folder / 'moving'}"
    runs.trained("lora", "of moving", here)
    code, said = runs.type(*runs.recipe("dit"), "dir=moving", "trainer.max_steps=5")
    assert code == 0, said
    sampling = ["task=sample", "task.ckpt=lora/of moving", "dir=x"]
    going_on = [*runs.recipe("lora"), here, "trainer.max_steps=6", "dir=lora/of moving"]
    for typed in (going_on, sampling):
        code, said = runs.type(*typed)
        assert code == 3, said
        assert "denoiser.network has other weights than those that the run was trained on" in said
    assert f"put the file back that it was trained with: {runs.folder / 'moving'}" in said


@pytest.mark.parametrize("recipe", ["lora", "encoder", "latent"])
def test_an_exported_run_is_the_same(runs, recipe):
    runs.trained(recipe)
    folder = runs.done(f"{recipe}/exported", "task=export", f"task.ckpt={recipe}/run")
    a, b = (diffexp.load(path, plugins=["plugins"]) for path in (folder, folder.parent / "run"))
    assert [n for n, v in a.state_dict().items() if not torch.equal(v, b.state_dict()[n])] == []
    assert a.state_dict().keys() == b.state_dict().keys()


def test_words_from_a_file_are_not_stored_and_the_averages_share_them(runs):
    held = checkpoint(runs.trained("encoder"))
    for part in (held["trained"], *held["ema"]):
        own = [name for name in part if name.startswith("conditioning.")]
        assert own == ["conditioning.learn.weight", "conditioning.learn.bias"]
    model = diffexp.load(runs.folder / "encoder" / "run", plugins=["plugins"])
    assert torch.equal(
        model.conditioning.table.weight, load_file(runs.folder / "table.safetensors")["weight"]
    )
    averaged, trained = held["ema"][0][own[0]], held["trained"][own[0]]
    assert torch.equal(model.conditioning.learn.weight, averaged) and not torch.equal(averaged, trained)


FILES = [("encoder", "conditioning", "table"), ("latent", "codec", "codec")]


@pytest.mark.parametrize(("recipe", "part", "name"), FILES)
def test_other_weights_in_a_file_are_refused_by_the_name_of_the_part(runs, recipe, part, name):
    moved = runs.folder / f"moved_{name}.safetensors"
    before = load_file(runs.folder / f"{name}.safetensors")
    save_file(before, moved)
    runs.trained(recipe, "moved", f"{part}.file={moved}")
    sampling = ["task=sample", f"task.ckpt={recipe}/moved", f"dir={recipe}/x"]
    sampling += ["task.text=[x]"] if recipe == "encoder" else []
    save_file({key: 2 * value for key, value in before.items()}, moved)
    code, said = runs.type(*sampling)
    assert code == 3 and f"{part} has other weights than those that the run was trained on" in said, said
    assert f"put the file back that it was trained with: {moved}" in said
    moved.unlink()
    code, said = runs.type(*sampling)
    assert code == 3 and f"not there\n  at: {moved}" in said and not (runs.folder / recipe / "x").exists()
