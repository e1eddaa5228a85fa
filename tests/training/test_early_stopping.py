"""A training ends when its metric has stopped getting better, also over a resumption."""

import json
from types import SimpleNamespace

import pytest
import torch
from adapters.concepts import TYPED, folder
from commands import QUICK, composed

from diffexp.errors import ConfigError
from diffexp.model.checkpoint import read_checkpoint
from diffexp.tasks.run import run_job
from diffexp.training import EarlyStopping

PLAIN = [
    text for text in TYPED if not text.startswith(("conditioning", "text_encoder", "trainer.max", "lr."))
]
STOP = ["callbacks=early_stopping", "callbacks.early_stopping.patience=2"]
# a rate that ruins the model, so that the loss of validation rises from some epoch on
LINE = [*PLAIN, "conditioning=none", "lr=constant", "trainer.max_steps=40", "optimizer.lr=0.3", *STOP]


class Validations:
    """Tells a callback what validations measure, as a trainer would."""

    def __init__(self, callback):
        self.callback, self.callback_metrics, self.global_step, self.should_stop = callback, {}, 0, False
        self.state, self.sanity_checking, self.fast_dev_run = SimpleNamespace(fn="fit"), False, False
        self.strategy = SimpleNamespace(reduce_boolean_decision=lambda value, all: value)
        self.current_epoch, self.is_global_zero, self.callbacks = 0, True, []

    def __call__(self, *measured):
        """Return how many validations there were when it was stopped, None where it was not."""
        for values in measured:
            self.global_step += 1
            self.callback.on_validation_start(self, SimpleNamespace())
            self.callback_metrics |= {key: torch.tensor(value) for key, value in values.items()}
            self.callback.on_validation_end(self, SimpleNamespace())
            if self.should_stop:
                return self.global_step
        return None


def each(key, *values):
    return [{key: value} for value in values]


@pytest.mark.parametrize(
    ("options", "key", "values", "stopped"),
    [
        ({}, "val/loss", (5.0, 4.0, 4.5, 3.0, 3.1, 3.0, 2.0), 6),
        ({}, "val/loss", (5.0, 4.0, 3.0, 2.0), None),
        ({"min_delta": 0.5}, "val/loss", (5.0, 4.8, 4.6, 3.0), 3),
        ({"metric": "val/fid"}, "val/fid_digits64", (5.0, 6.0, 7.0), 3),
        ({"metric": "val/accuracy"}, "val/accuracy_svm", (0.5, 0.6, 0.6, 0.6), 4),
        ({"metric": "val/right", "highest": False}, "val/right", (0.5, 0.6, 0.7), 3),
    ],
)
def test_it_stops_after_so_many_measurements_that_are_no_better(options, key, values, stopped):
    callback = EarlyStopping(**{"patience": 2} | options)
    assert Validations(callback)(*each(key, *values)) == stopped
    assert (callback.ended is None) == (stopped is None)
    if stopped:
        assert callback.ended["step"] == stopped and callback.ended["metric"] == key
        assert (" by 0.5 in 2 measurements" in callback.ended["why"]) == ("min_delta" in options)


def test_a_validation_that_does_not_measure_it_does_not_count():
    callback = EarlyStopping("val/fid", 2)
    fid, none = {"val/fid_x": 5.0}, {"val/loss": 1.0}
    assert Validations(callback)(fid, none, none, none, none, fid, none, fid) == 8


def test_a_metric_that_is_not_there_is_said_with_those_near_it():
    validations = Validations(EarlyStopping("val/fidd", 2))
    assert validations({"val/loss": 1.0}) is None  # the samples may come later
    with pytest.raises(ConfigError, match=r"nothing measures val/fidd\n.*\n  do: there are val/fid_x"):
        validations({"val/loss": 1.0, "val/fid_x": 5.0})


def go(path, *typed):
    typed = [*typed, f"dir={path}"]
    cfg, choices = composed(typed)
    return run_job(cfg, path, typed, choices)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """(the folder of images, the run, its results)"""
    root = tmp_path_factory.mktemp("stopping")
    images = folder(root / "images", ["a red one"])
    return images, root / "run", go(root / "run", *LINE, f"data.path={images}")


def test_a_run_ends_at_the_step_that_its_losses_say(stopped):
    _, run, results = stopped
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    losses = [row["val/loss"] for row in rows if "val/loss" in row]
    best = losses.index(min(losses))
    assert len(losses) == best + 3 and results["stopped"]["step"] == 2 * len(losses) < 40
    assert results["stopped"]["best"] == pytest.approx(min(losses))
    assert read_checkpoint(run / "checkpoints" / "last.ckpt")["global_step"] == results["stopped"]["step"]
    assert json.loads((run / "run.json").read_text())["state"] == "done"


@pytest.mark.parametrize("every", [500, 2])  # with 2 the checkpoint is of before the validation
def test_a_run_that_was_cut_ends_at_the_same_step(stopped, tmp_path, capsys, every):
    images, run, results = stopped
    half = results["stopped"]["step"] - 2
    typed = [*LINE, f"data.path={images}", f"callbacks.checkpoint.every={every}"]
    go(tmp_path / "run", *typed, f"trainer.max_steps={half}")
    assert go(tmp_path / "run", *typed)["stopped"] == results["stopped"]
    assert f"early stopping at step {half + 2}: val/loss has not got better than" in capsys.readouterr().out
    a, b = (
        read_checkpoint(path / "checkpoints" / "last.ckpt")["trained"] for path in (run, tmp_path / "run")
    )
    assert all(torch.equal(a[name], b[name]) for name in a)
    go(tmp_path / "run", *typed)
    assert "already finished" in capsys.readouterr().out


def test_what_is_not_measured_is_refused_before_training(stopped, tmp_path):
    typed = [*QUICK, *STOP, "metrics=none"]
    for more, said in (
        (["callbacks.early_stopping.metric=val/fid"], r"val/fid is measured at the end alone\n.*\n.*every=1"),
        (["callbacks.early_stopping.patience=0"], "patience=0"),
        (["callbacks.early_stopping.min_delta=-1"], "min_delta=-1"),
    ):
        with pytest.raises(ConfigError, match=said):
            go(tmp_path / "x", *typed, *more)
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("metric", "near"),
    [
        ("val/lss", "val/loss"),
        ("val/acuracy", "val/accuracy"),
        ("val/fidd", "val/fid"),
        ("fid", "val/fid"),
        ("train/lss", "train/loss"),
    ],
)
def test_a_metric_that_is_misspelled_is_refused_before_training(tmp_path, metric, near):
    """And not told to be one that is measured at the end alone."""
    typed = [*QUICK, *STOP, "metrics=none", f"callbacks.early_stopping.metric={metric}"]
    said = rf"there is no metric {metric}\n.*\n  do: type callbacks.early_stopping.metric={near}$"
    with pytest.raises(ConfigError, match=said):
        go(tmp_path / "x", *typed)
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    "metric", ["val/fid_digits64", "val/right_digit", "val/acc", "val/loss", "val/size_of_own"]
)
def test_metrics_that_may_be_are_taken(metric):
    EarlyStopping(metric).check(samples=True)


def test_what_a_beginning_of_a_name_stands_for_is_said_once(capsys):
    validations = Validations(EarlyStopping("val/fid", 9))
    validations(*[{"val/fid_x": 5.0, "val/fid_std_x": 1.0, "val/loss": 2.0}] * 2)
    said = "early stopping by val/fid_std_x (and not by val/fid_x)"
    assert capsys.readouterr().out == f"chosen: callbacks.early_stopping.metric=val/fid: {said}\n"


def test_the_line_that_goes_on_with_a_run_that_was_stopped_works(stopped, tmp_path, capsys):
    images, _, results = stopped
    go(tmp_path / "run", *LINE, f"data.path={images}")
    (longer,) = [line for line in capsys.readouterr().out.splitlines() if " resume=" in line]
    assert longer.split()[-2:] == ["trainer.max_steps=160", "callbacks.early_stopping.patience=4"]
    more = go(tmp_path / "run", *LINE, f"data.path={images}", *longer.split()[-2:])
    assert more["stopped"]["step"] == results["stopped"]["step"] + 4
