"""Each YAML file of conf/data names a class of ours, all its arguments, and their defaults."""

import inspect
from pathlib import Path

import pytest
import yaml

import diffexp.data
from diffexp.config.build import build

MADE_OF_OTHERS = ("buckets", "digits_glyph", "prior")  # another option with other values; and of a model
FILES = [
    file
    for file in sorted(Path(__file__).parents[2].glob("conf/data/*.yaml"))
    if file.stem not in MADE_OF_OTHERS
]


def test_every_data_set_has_a_file():
    kinds = {yaml.safe_load(file.read_text())["_target_"].split(".")[-1] for file in FILES}
    exported = {getattr(diffexp.data, name) for name in diffexp.data.__all__}
    sets = {c.__name__ for c in exported if inspect.isclass(c) and issubclass(c, diffexp.data.DataSet)}
    assert kinds == sets - {"DataSet"}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_values_are_those_of_the_signature(file):
    node = yaml.safe_load(file.read_text())
    kind = getattr(diffexp.data, node.pop("_target_").removeprefix("diffexp.data."))
    parameters = inspect.signature(kind).parameters
    assert list(node) == list(parameters)
    for name, value in node.items():
        default = parameters[name].default
        if default is inspect.Parameter.empty:
            assert value in ("???", "${data_root}") or name == "size"
        else:
            value = build(value)
            assert value == default and type(value) is type(default)
