"""Configurations become objects of allowed packages only, after a check against their signatures."""

from functools import partial

import pytest
import torch

from diffexp.config.build import OURS, build, locate
from diffexp.config.catalogue import judge
from diffexp.config.check import check, describe, fits
from diffexp.config.moved import first_names
from diffexp.diffusion import ClassifierFree, MinSNR, cosine
from diffexp.errors import ConfigError


def node(target, **values):
    return {"_target_": target, **values}


def test_nested_nodes_and_partials():
    made = build({"a": node("diffexp.diffusion.cosine", T=10), "b": [1, [2, 3]], "c": None})
    assert torch.equal(made["a"].angles, cosine(10).angles)
    assert made["b"] == (1, (2, 3)) and made["c"] is None
    later = build(node("torch.optim.AdamW", _partial_=True, lr=0.5))
    assert isinstance(later, partial) and later.keywords == {"lr": 0.5}


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "torch.load",
        "builtins.eval",
        "diffexp.run.folder.subprocess.run",
        "diffexp.diffusion.schedule.torch.load",
        "diffexperiments.x",
        3,
    ],
)
def test_targets_elsewhere_are_refused(target):
    with pytest.raises(ConfigError, match=r"may not be built|no class or function"):
        locate(target)


def test_stranger_may_build_only_ours():
    with pytest.raises(ConfigError, match="may not be built"):
        build(node("torch.optim.AdamW", _partial_=True), allowed=OURS)


def test_plugins_are_allowed_by_name():
    with pytest.raises(ConfigError, match=r"plugins=\[my_package\]"):
        locate("fractions.Fraction")
    assert locate("fractions.Fraction", allowed=("diffexp", "fractions"))(1, 2) == 0.5


def test_mistyped_target_has_a_remedy():
    with pytest.raises(ConfigError, match=r"type diffexp\.diffusion\.cosine"):
        locate("diffexp.diffusion.cosin")


@pytest.mark.parametrize("old", ["diffexp.metrics.Clip", "diffexp.metrics.pretrained.Clip"])
def test_the_clip_extractor_keeps_its_old_names(old):
    assert build({"_target_": old, "model": "some/clip-vit"}).name == "clip-vit"
    assert judge({"_target_": old, "model": "some/clip-vit"}, "metrics.extractor") == []


def test_a_class_that_was_renamed_changes_no_identity():
    node = {"metrics": {"extractor": {"_target_": "diffexp.metrics.CLIPEmbedding"}}}
    assert first_names(node) == {"metrics": {"extractor": {"_target_": "diffexp.metrics.Clip"}}}


def test_every_problem_at_once():
    config = {
        "weighting": node("diffexp.diffusion.MinSNR", gama=5.0),
        "guidance": node("diffexp.diffusion.ClassifierFree", scale="high", rescale=True),
    }
    with pytest.raises(ConfigError) as told:
        check(config)
    text = str(told.value)
    assert text.startswith("3 problems")
    assert "type weighting.gamma" in text
    assert "guidance.scale=high is not a number" in text
    assert "guidance.rescale=True is not a number" in text


def test_ranges_are_checked_by_the_constructors():
    with pytest.raises(ConfigError, match="gamma=-1"):
        check({"weighting": node("diffexp.diffusion.MinSNR", gamma=-1.0)})
    check({"weighting": node("diffexp.diffusion.MinSNR", gamma=1.0)})
    assert MinSNR(1.0).gamma == 1.0


def test_missing_arguments_are_named():
    with pytest.raises(ConfigError, match=r"schedule is missing[\s\S]*snr\.schedule"):
        check({"snr": node("diffexp.diffusion.with_snr", shift=1.0)})


@pytest.mark.parametrize(
    ("value", "hint", "good"),
    [
        (1, int, True),
        (True, int, False),
        (1, float, True),
        (True, float, False),
        ("1", float, False),
        (None, int | None, True),
        ([1, 2], tuple[int, ...], True),
        ([1, "a"], tuple[int, ...], False),
        (1, tuple[int, ...], False),
        ([0.1, 2], tuple[float, float] | None, True),
        ([0.1], tuple[float, float] | None, False),
        ([48, 64], int | tuple[int, int], True),
        (48, int | tuple[int, int], True),
        ([48, 64, 3], int | tuple[int, int], False),
        ([48, "64"], int | tuple[int, int], False),
        ("48x64", int | tuple[int, int], False),
        ([16, "1/4"], tuple[int | str, ...], True),
        ([0.25], tuple[int | str, ...], False),
        ("1/4", tuple[int | str, ...], False),
        ([[0.06, 0.3, 4, 2]], tuple[tuple[float, float, int, int], ...], True),
        ([[0.06, 0.3, 4]], tuple[tuple[float, float, int, int], ...], False),
        ("cosine", ClassifierFree, False),
        (node("x"), ClassifierFree, True),
    ],
)
def test_fits(value, hint, good):
    assert fits(value, hint) is good


def test_types_in_the_words_of_a_configuration():
    assert describe(int | None) == "a whole number or null"
    assert describe(tuple[float, ...]) == "a list, each a number"
    assert describe(tuple[int | str, ...]) == "a list, each a whole number or text"
    assert describe(int | tuple[int, int]) == "a whole number or a list of 2, each a whole number"
    assert describe(tuple[float, int]) == "[a number, a whole number]"


def test_one_value_where_a_list_is_wanted_is_answered_with_the_list():
    compare = {"_target_": "diffexp.tasks.compare.Compare", "runs": ["a", "b"]}
    with pytest.raises(ConfigError, match=r"do: type task.metrics=\[fid_x\]"):
        check({"task": compare | {"metrics": "fid_x"}}, construct=False)
    with pytest.raises(ConfigError, match="do: give a list, each text"):
        check({"task": compare | {"metrics": 3}}, construct=False)
