"""Runs and sweeps of before there was prediction.time: they go on, and what is done stays done."""

import json
import shutil

import pytest
import torch
import yaml
from commands import QUICK, composed
from omegaconf import OmegaConf

from diffexp.errors import ConfigError
from diffexp.sweep.cell import identity
from diffexp.tasks.run import run_job

LINE = [*QUICK, "prediction=v", "lr.warmup=1", "trainer.max_steps=2"]


def go(folder, *typed):
    overrides = [*LINE, f"dir={folder}", *typed]
    cfg, choices = composed(overrides)
    return run_job(cfg, folder, overrides, choices)


def without(node, key):
    """A configuration as it was before there was that key."""
    if isinstance(node, dict):
        return {k: without(v, key) for k, v in node.items() if k != key}
    return [without(v, key) for v in node] if isinstance(node, list) else node


@pytest.fixture(scope="module")
def old(tmp_path_factory):
    """A run of 2 steps whose config.yaml and checkpoint have no prediction.time."""
    folder = tmp_path_factory.mktemp("old") / "run"
    go(folder)
    path = folder / "config.yaml"
    config = yaml.safe_load(path.read_text())
    assert config["prediction"].pop("time") == "t"
    path.write_text(yaml.safe_dump(without(config, "time")))
    for file in (folder / "checkpoints").glob("*.ckpt"):
        saved = torch.load(file, weights_only=True)
        saved["diffexp"]["config"] = without(saved["diffexp"]["config"], "time")
        torch.save(saved, file)
        file.with_name(f"{file.name}.json").unlink()  # the note of its digest
    return folder


@pytest.fixture
def run(old, tmp_path):
    shutil.copytree(old, tmp_path / "run")
    return tmp_path / "run"


@pytest.mark.parametrize("typed", [[], ["prediction.time=t"]], ids=["", "typed"])
def test_an_old_run_goes_on(run, typed):
    """Also where the prediction was typed by its name."""
    go(run, *typed, "trainer.max_steps=4", "lr.steps=2")
    assert json.loads((run / "run.json").read_text())["state"] == "done"
    assert yaml.safe_load((run / "config.yaml").read_text())["prediction"]["time"] == "t"


@pytest.mark.parametrize(
    ("typed", "line"),
    [
        ("prediction.time=flow", "prediction.time None -> flow"),
        ("prediction=flow", "diffexp.diffusion.V -> diffexp.diffusion.Flow"),
    ],
)
def test_with_another_time_or_prediction_it_is_another_run(run, typed, line):
    with pytest.raises(ConfigError, match=f"the run in this folder was another: .*{line}"):
        go(run, typed, "trainer.max_steps=4", "lr.steps=2")


def test_cells_that_were_done_stay_done(tmp_path):
    def config(*typed):
        return OmegaConf.to_container(composed([*LINE, f"dir={tmp_path}", *typed])[0], resolve=True)

    assert identity(without(config(), "time")) == identity(config())
    assert identity(config("prediction.time=flow")) != identity(config())


def test_a_run_with_an_old_name_in_an_option_of_ones_own_goes_on(tmp_path):
    """The name is the old one in what is typed, and may be either in the run."""
    old = ["codec._target_=diffexp.diffusion.Pixels"]
    go(tmp_path / "run", *old)
    go(tmp_path / "run", *old, "trainer.max_steps=4", "lr.steps=2")
    go(tmp_path / "run", "trainer.max_steps=6", "lr.steps=2")
    saved = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    assert saved["global_step"] == 6
