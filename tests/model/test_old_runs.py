"""Runs of version 0.1.0 give the same images, and go on. tests/fixtures/v0.1.0 holds two, as they were
written, an export, and what came out of them then.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import composed

import diffexp
from diffexp.errors import ConfigError, DataError
from diffexp.model.checkpoint import read_checkpoint
from diffexp.model.format import upgraded
from diffexp.model.restore import restore
from diffexp.samplers import DDIM

OLD = Path(__file__).parents[1] / "fixtures" / "v0.1.0"
EXPECTED = json.loads((OLD / "expected.json").read_text())
SAMPLE = [
    "task=sample", "task.n=8", "task.npz=true", "task.files=false", "sampler.steps=5", "logger=none",
]  # fmt: skip


def run(folder, *typed):
    from diffexp.tasks.run import run_job

    typed = [*typed, f"dir={folder}"]
    cfg, choices = composed(typed)
    run_job(cfg, folder, typed, choices)
    return folder


def near(images, expected):
    """The same 8-bit values; another processor may round one of a thousand to its neighbour."""
    far = np.abs(images.reshape(8, -1).astype(int) - np.array(expected))
    return far.max() <= 1 and (far > 0).mean() < 0.002


@pytest.mark.parametrize(
    ("which", "typed", "name"),
    [
        ("classes", ["guidance.scale=1"], "classes, guidance 1"),
        ("classes", ["guidance.scale=2"], "classes, guidance 2"),
        ("learned", ["sampler=ddpm"], "learned, ddpm"),
    ],
)
def test_old_runs_give_the_images_that_they_gave(tmp_path, which, typed, name):
    folder = run(tmp_path / "s", *SAMPLE, f"task.ckpt={OLD / which}", *typed)
    assert near(np.load(folder / "samples" / "samples.npz")["images"], EXPECTED[name])


def test_an_old_export_gives_the_images_of_its_run():
    whole, exported = (diffexp.load(OLD / which) for which in ("classes", "exported"))
    images = [diffexp.sample(m, 8, DDIM(steps=5), scale=2.0) for m in (whole, exported)]
    assert torch.equal(*images) and near(images[0].numpy(), EXPECTED["classes, guidance 2"])


def test_an_old_run_goes_on_in_its_folder(tmp_path, capsys):
    """From step 8 to 12, as it did then; the checkpoint is of the new format."""
    folder = tmp_path / "run"
    shutil.copytree(OLD / "classes", folder)
    typed = json.loads(json.dumps([t for t in (folder / "overrides.yaml").read_text().split("\n") if t]))
    typed = [t.removeprefix("- ").strip("'") for t in typed if "max_steps" not in t and "dir=" not in t]
    run(folder, *typed, "trainer.max_steps=12")
    assert "going on from step 8" in capsys.readouterr().out
    told = read_checkpoint(folder / "checkpoints" / "last.ckpt")
    assert told["global_step"] == 12 and told["diffexp"]["format"] == 2
    sums = {
        k.removeprefix("denoiser.network."): float(v.double().abs().sum()) for k, v in told["trained"].items()
    }
    assert sums == pytest.approx(EXPECTED["classes, step 12"], rel=1e-4, abs=1e-4)


def test_what_importance_has_learned_is_kept():
    told = read_checkpoint(OLD / "learned" / "checkpoints" / "last.ckpt")
    assert set(told["objective"]) == {"times.squares", "times.seen"} and int(
        told["objective"]["times.seen"].sum()
    )
    assert len(told["ema"]) == 1 and told["ema"][0].keys() == told["trained"].keys()


def test_state_of_no_known_part_is_refused_by_name():
    """A codec's weights were stored so, and not restored: images were decoded with random ones."""
    old = torch.load(OLD / "classes" / "checkpoints" / "last.ckpt", weights_only=True)
    old["state_dict"]["codec.down.weight"] = torch.zeros(1)
    with pytest.raises(DataError, match=r"state of no known part: codec\.down\.weight"):
        upgraded(old, Path("x.ckpt"))
    old["diffexp"]["format"] = 3
    with pytest.raises(DataError, match="is of format 3; this version of diffexp reads 1 and 2"):
        upgraded(old, Path("x.ckpt"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda w: w.update({"x": w.pop("denoiser.network.conv_in.weight")}),
            r"missing: denoiser\.network\.conv_in\.weight",
        ),
        (
            lambda w: w.update({"conditioning.extra": torch.zeros(2)}),
            r"not of this model: conditioning\.extra",
        ),
        (
            lambda w: w.update({"denoiser.network.conv_in.bias": torch.zeros(7)}),
            r"of another size: denoiser\.network\.conv_in\.bias \[7\], here \[4\]",
        ),
        (lambda w: w.update({"denoiser.network.conv_in.bias": 3}), "is no tensor"),
    ],
)
def test_weights_that_are_not_those_of_the_model_are_refused_by_name(tmp_path, change, message):
    told = read_checkpoint(OLD / "classes" / "checkpoints" / "last.ckpt")
    change(told["ema"][0])
    told["diffexp"]["format"] = 2
    torch.save(told, tmp_path / "x.ckpt")
    with pytest.raises(DataError, match=message):
        restore(tmp_path / "x.ckpt")


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (lambda c: c.pop("ema"), "ema"),
        (lambda c: c.update(ema=None, objective=[]), "objective, ema"),
        (lambda c: c.update(ema=[{}, "x"]), r"ema\[1\]"),
        (lambda c: c.pop("trained"), "trained"),
        (lambda c: c["trained"].update({7: torch.zeros(1)}), "trained"),
    ],
)
def test_parts_of_a_checkpoint_that_are_not_states_are_named(tmp_path, change, parts):
    told = read_checkpoint(OLD / "classes" / "checkpoints" / "last.ckpt")
    told["diffexp"]["format"] = 2
    change(told)
    torch.save(told, tmp_path / "x.ckpt")
    with pytest.raises(DataError, match=f"the checkpoint is damaged in {parts}\n"):
        read_checkpoint(tmp_path / "x.ckpt")


@pytest.mark.parametrize("number", [-1, -5, 1])
def test_an_average_that_there_is_not_is_refused(number):
    with pytest.raises(ConfigError, match=f"has no average {number}, but 0 "):
        restore(OLD / "classes", number)
