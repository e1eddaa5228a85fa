"""Runs and sweeps of before there was data.caption: they go on, and what is done stays done."""

import json

import pytest
import yaml
from commands import QUICK, composed
from omegaconf import OmegaConf
from test_folder import paint

from diffexp.errors import ConfigError
from diffexp.sweep.cell import identity
from diffexp.tasks.run import run_job


def line(folder, *typed):
    data = [f"data.path={folder / 'images'}", "data.size=8", "data.val=0.2", "data.test=0.2"]
    more = [
        "lr.warmup=1",
        "metrics=none",
        "conditioning=none",
        "loader.batch_size=4",
        f"dir={folder / 'run'}",
    ]
    return [*(x for x in QUICK if "metrics" not in x), "data=folder", *data, *more, *typed]


def go(folder, *typed):
    overrides = line(folder, *typed)
    cfg, choices = composed(overrides)
    return run_job(cfg, folder / "run", overrides, choices)


def without(node):
    """A configuration as it was before there was that key."""
    if isinstance(node, dict):
        return {k: without(v) for k, v in node.items() if k != "caption"}
    return [without(v) for v in node] if isinstance(node, list) else node


def test_an_old_run_goes_on_and_with_other_captions_it_is_another(tmp_path):
    paint(tmp_path / "images", [f"{i}.png" for i in range(20)])
    go(tmp_path, "trainer.max_steps=2")
    path = tmp_path / "run" / "config.yaml"
    config = yaml.safe_load(path.read_text())
    assert config["data"]["caption"]["shuffle"] is False
    path.write_text(yaml.safe_dump(without(config)))
    with pytest.raises(ConfigError, match=r"data\.caption\.shuffle None -> True"):
        go(tmp_path, "data.caption.shuffle=true", "trainer.max_steps=4", "lr.steps=2")
    go(tmp_path, "trainer.max_steps=4", "lr.steps=2")
    assert json.loads((tmp_path / "run" / "run.json").read_text())["state"] == "done"

    def config_of(*typed):
        return OmegaConf.to_container(composed(line(tmp_path, *typed))[0], resolve=True)

    assert identity(without(config_of())) == identity(config_of())
    assert identity(config_of("data.caption.keep=1")) != identity(config_of())
    assert identity(config_of("network.dropout=0.0")) == identity(config_of())
