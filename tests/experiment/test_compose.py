"""Every option of every group composes, passes the check, and is built."""

import pytest
from commands import CONF, composed
from omegaconf import OmegaConf

from diffexp.config.build import build
from diffexp.config.check import check

OPTIONS = [
    f"{path.parent.name}={path.stem}" for path in sorted(CONF.glob("*/*.yaml")) if path.parent.name != "hydra"
]
NEEDS = {
    "data=folder": ["data.path=here"],
    "data=npz": ["data.path=here.npz"],
    "task=export": ["task.ckpt=run"],
    "task=sample": ["task.ckpt=run"],
    "task=evaluate": ["task.ckpt=run"],
    "task=encode": ["task.ckpt=run"],
    "task=likelihood": ["task.ckpt=run"],
    "task=interpolate": ["task.ckpt=run"],
    "task=measure": ["task.images=here"],
}


@pytest.mark.parametrize("option", OPTIONS)
def test_option_composes_and_passes_the_check(option):
    cfg, choices = composed([option, *NEEDS.get(option, [])])
    group, name = option.split("=")
    assert choices[group] == name
    config = OmegaConf.to_container(cfg, resolve=True)
    check(config)
    assert build(config["task"], "task") is not None


@pytest.mark.parametrize("option", OPTIONS)
def test_option_says_what_it_is(option):
    group, name = option.split("=")
    lines = (CONF / group / f"{name}.yaml").read_text().splitlines()
    first = lines[1] if lines[0].startswith("# @package") else lines[0]
    assert first.startswith("# ") and len(first) > 15


def test_every_key_of_an_option_is_an_argument_with_its_default():
    """A YAML lists all that can be set: what is not there could not be typed without a plus sign."""
    import inspect

    from diffexp.config.build import locate

    for option in OPTIONS:
        group, name = option.split("=")
        node = OmegaConf.to_container(OmegaConf.load(CONF / group / f"{name}.yaml"))
        if group in ("schedule", "prediction", "sampler", "guidance", "clip"):
            params = {k for k in inspect.signature(locate(node["_target_"])).parameters if k != "self"}
            assert params == {k for k in node if not k.startswith("_")}, option
