"""Each YAML file of these groups names one of our classes or functions, all its arguments, their defaults."""

import inspect
from pathlib import Path

import pytest
import yaml

from diffexp.config.build import locate

CONF = Path(__file__).parents[2] / "conf"
GROUPS = [
    "clip",
    "codec",
    "conditioning",
    "guidance",
    "objective",
    "prediction",
    "schedule",
    "times",
    "variance",
    "weighting",
]
OPTIONS = {
    "clip": "dynamic none static",
    "codec": "pixels",
    "conditioning": "class none",
    "guidance": "cfg",
    "objective": "simple hybrid vlb",
    "prediction": "edm eps flow mean v x0",
    "schedule": "cosine flow linear quad scaled_linear sigmoid sigmoid_beta",
    "times": "uniform stratified importance log_normal logit_normal",
    "variance": "fixed_large fixed_small learned learned_range",
    "weighting": "min_snr snr uniform truncated_snr soft_min_snr p2 debiased edm edm2 sigmoid vlb",
}
FILES = sorted(file for group in OPTIONS for file in (CONF / group).glob("*.yaml"))


@pytest.mark.parametrize("group", OPTIONS)
def test_the_options_of_each_group_are_there_and_differ(group):
    files = {file.stem: str(yaml.safe_load(file.read_text())) for file in (CONF / group).glob("*.yaml")}
    assert set(OPTIONS[group].split()) <= set(files)
    assert len(set(files.values())) == len(files)


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}={file.stem}")
def test_the_values_are_the_defaults_of_the_signature(file):
    text = file.read_text()
    assert text.startswith("# ") and text.splitlines()[0].endswith(".")
    node = yaml.safe_load(text)
    if "defaults" in node:  # tests/command_line/test_compose.py tries what inherits
        return
    made = locate(node.pop("_target_"))
    parameters = inspect.signature(made).parameters
    assert list(node) == list(parameters)
    for name, value in node.items():
        default = parameters[name].default
        if isinstance(value, str) and value.startswith("${"):
            assert value == f"${{{name}}}" or (name, value) == ("schedule", "${snr}")
        elif default is inspect.Parameter.empty:
            assert "_target_" in value
        else:
            # hybrid and vlb are other values of one class
            assert value == default or file.parent.name == "objective"
            assert type(value) is type(default)
    if not any(isinstance(value, str | dict) for value in node.values()):
        made(**node)
