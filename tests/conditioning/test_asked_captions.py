"""The captions that the evaluator asks for, the real images that it compares with, and what a card says."""

import json

import pytest
import torch
from plugins.halves import Halves

import diffexp
from diffexp.config.moved import is_neutral
from diffexp.diffusion import ClassifierFree, Static
from diffexp.errors import ConfigError
from diffexp.metrics import FID, Evaluator, MetricSet, SmallClassifier, WhatCanBeMeasured
from diffexp.metrics.reference import key
from diffexp.samplers import DDIM
from diffexp.sweep.cell import identity


class Listed:
    """A metric that keeps what was asked for."""

    def check(self, data, extractor):
        pass

    def prepare(self, data, extractor, n):
        self.reset()

    def update(self, batch, features):
        self.texts += batch.text

    def compute(self):
        return {"asked": float(len(self.texts))}

    def card(self):
        return {"texts": list(self.texts)}

    def reset(self):
        self.texts = []


@pytest.fixture(scope="module")
def model(runs):
    return diffexp.load(runs.trained("words"), plugins=["listener", "plugins"])


def evaluated(model, n, **more):
    evaluator = Evaluator(DDIM(steps=2), ClassifierFree(), Static(), MetricSet(n, None, [Listed()]),
        batch_size=5, pictures=3, **more)  # fmt: skip
    evaluator.check(Halves(), model)
    evaluator.prepare(Halves(), "cpu")
    return evaluator.run(model).cards["asked"]


@pytest.mark.parametrize("split", ["val", "test"])
def test_captions_are_those_of_a_split_in_its_order_and_in_turn(model, split):
    texts = Halves().split(split).texts
    card = evaluated(model, 20, captions=split)
    assert card["texts"] == [*texts, *texts, *texts[:4]]
    assert card["captions"] == f"of the {split} split"
    assert (card["captions_distinct"], card["captions_repeated"]) == (len(set(texts)), 20 - len(set(texts)))
    few = evaluated(model, 2, captions=split)  # of three that are drawn
    assert few["texts"] == texts[:2] and few["captions_distinct"] + few["captions_repeated"] == 2


def test_without_the_key_they_are_those_of_validation(model):
    assert evaluated(model, 8) == evaluated(model, 8, captions="val") != evaluated(model, 8, captions="test")


def test_the_split_that_is_asked_for_must_have_captions(model):
    data = Halves()
    data.split("test").captions = None
    evaluator = Evaluator(DDIM(), ClassifierFree(), Static(), MetricSet(0), captions="test")
    with pytest.raises(ConfigError, match="this model wants captions, and the data has none"):
        evaluator.check(data, model)


def test_a_command_measures_against_the_split_that_it_names(runs):
    typed = ["task=evaluate", f"task.ckpt={runs.trained('words')}", "metrics=digits", "metrics.n=12",
        "evaluator.captions=test", "evaluator.reference=test", "evaluator.pictures=2"]  # fmt: skip
    folder, _ = runs.done("against_test", *typed)
    card = json.loads((folder / "run.json").read_text())["results"]["cards"]["fid_digits64"]
    data = Halves()
    assert (card["split"], card["captions"], card["n_reference"]) == ("test", "of the test split", 8)
    assert card["fingerprint"] == data.fingerprint("test")[:12] and card["captions_distinct"] <= 4
    code, said = runs.type(*typed[:-3], "evaluator.captions=train", "evaluator.reference=all", "dir=no")
    assert code == 2 and "evaluator.captions=train is not val or test" in said
    assert "evaluator.reference=all is not train or val or test or null" in said


def test_statistics_are_kept_by_split():
    """Also where all splits have the same images."""
    extractor, data = SmallClassifier(), Halves()
    data._splits = data._splits._replace(val=data.split("test"))
    extractor.check(data.shape)
    assert torch.equal(data.split("val").images, data.split("test").images)
    assert key(data, "val", extractor) != key(data, "test", extractor)


def test_metrics_keep_their_own_reference_unless_one_is_named():
    metrics = MetricSet(10, SmallClassifier(), [FID("val"), FID("test"), Listed()])
    Evaluator(DDIM(), ClassifierFree(), Static(), metrics)
    assert [metric.reference for metric in metrics.metrics[:2]] == ["val", "test"]
    Evaluator(DDIM(), ClassifierFree(), Static(), metrics, reference="train")
    assert [metric.reference for metric in metrics.metrics[:2]] == ["train", "train"]
    assert not hasattr(metrics.metrics[2], "reference")


def test_what_can_be_measured_is_judged_by_the_split_that_is_compared_with(capsys):
    metrics = WhatCanBeMeasured()
    Evaluator(DDIM(), ClassifierFree(), Static(), metrics, reference="val").metrics.check(Halves())
    assert metrics.n == 0 and "8 validation images are too few to compare with" in capsys.readouterr().out


def test_a_cell_of_before_stays_done():
    node = {"evaluator": {"every": 1}, "metrics": {"metrics": [{"reference": "train"}]}}
    later = {**node, "evaluator": {"every": 1, "captions": "val", "reference": None}}
    other = {**node, "evaluator": {"every": 1, "captions": "test", "reference": None}}
    assert identity(node) == identity(later) != identity(other)
    assert is_neutral("evaluator.captions", "val") and not is_neutral("evaluator.reference", "test")
