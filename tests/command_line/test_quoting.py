"""Paths as people type them reach the data set as they are; what Hydra reads well stays as it is typed."""

from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given, settings
from hypothesis import strategies as st

from diffexp.config.quoting import quoted
from diffexp.config.suggest import goes_on, resume_of

PARSER = OverridesParser.create()


def read(text):
    return PARSER.parse_override(text).value()


@pytest.mark.parametrize(
    "path",
    [
        "写真",
        "été/août",
        "my photos",
        "a(b)",
        "a'b",
        "/x/y & z",
        "a=b",
        "a#b",
        "~/photos",
        "C:\\x y",
        "it's 5 o'clock",
    ],
)
def test_a_path_is_read_as_it_is_typed(path):
    (typed,) = quoted([f"data.path={path}"])
    assert read(typed) == path


@pytest.mark.parametrize("name", ["a,b", "[x]", "2024", "null", "true", "{a}"])
def test_the_name_of_a_folder_that_is_there_is_a_path(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert quoted([f"data.path={name}"]) == [f"data.path={name}"]
    (tmp_path / name).mkdir()
    assert read(*quoted([f"data.path={name}"])) == name
    assert quoted([f"sampler.steps={name}"]) == [f"sampler.steps={name}"]  # which is no path


@pytest.mark.parametrize(
    "text",
    [
        "-m", "--cfg", "sampler=ddim", "sampler.steps=1,2", "sampler.eta=[1", "sampler.steps", "seed=0",
        "x=null", "x=",
        "~network.groups", "+a.b=3", "data.path=${x}", "task.text=['a b','c']", "task.ckpt='a b'",
        "dir=/x/a.b/c-d",
        "name=é,ü", "task.ckpt=runs/é,runs/ü",
    ],
)  # fmt: skip
def test_what_needs_no_quotes_has_none(text):
    assert quoted([text]) == [text]


@settings(deadline=None, max_examples=200)
@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=12))
def test_no_value_is_read_as_another(value):
    (typed,) = quoted([f"data.path={value}"])
    if typed != f"data.path={value}":
        assert read(typed) == value


@pytest.mark.parametrize(
    ("folder", "typed"),
    [("auto", "resume=./auto"), ("never", "resume=./never"), ("runs/auto", "resume=runs/auto")],
)
def test_a_folder_that_is_called_as_a_mode_is_typed_as_a_folder(folder, typed):
    assert resume_of(Path(folder)) == typed
    assert goes_on(Path(folder)).endswith(f" {typed}")
