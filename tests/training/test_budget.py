"""A training ends when its time or the work of its network is used up, also over a resumption."""

import json
from types import SimpleNamespace

import pytest
import torch
from commands import QUICK, composed
from torch import nn

from diffexp.errors import ConfigError, DataError
from diffexp.model.checkpoint import read_checkpoint
from diffexp.report.table import flat, markdown
from diffexp.tasks.run import run_job
from diffexp.training import DiffusionModule, LearningRate, spending
from diffexp.training.budget import Budget, budget_of
from diffexp.training.evaluate_samples import EvaluateSamples
from diffexp.training.flops import flops

FEW = [*QUICK, "metrics=none", "loader.batch_size=8", "lr.warmup=1", "trainer.log_every_n_steps=1"]


def go(folder, *typed):
    typed = [*FEW, *typed, f"dir={folder}"]
    cfg, choices = composed(typed)
    return run_job(cfg, folder, typed, choices)


def weights(folder):
    return read_checkpoint(folder / "checkpoints" / "last.ckpt")["trained"]


def rates(folder):
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [row["train/lr"] for row in rows if "train/lr" in row]


TIMES = [
    ("300s", 300), ("5min", 300), ("1h30min", 5400), ("00:05:00", 300), ("1:00:05:00", 86700), (90, 90),
    ("1.5h", 5400), ("2d 1s", 172801), (0.5, 0.5),
]  # fmt: skip


@pytest.mark.parametrize(("typed", "seconds"), TIMES)
def test_times(typed, seconds):
    assert budget_of({"max_time": typed}) == Budget(max_time=seconds)


def test_what_is_no_budget_is_refused_all_at_once():
    for bad in ("5x", "5 minutes", "", "min", "1:2", True, -1, "0s", "nan", [1]):
        with pytest.raises(ConfigError, match="no time"):
            budget_of({"max_time": bad})
    for bad in ("many", 0, -1, "nan", "inf", True, [1]):
        with pytest.raises(ConfigError, match="no number of operations"):
            budget_of({"max_flops": bad})
    with pytest.raises(ConfigError, match=r"2 problems(.|\n)*trainer.max_time(.|\n)*trainer.max_flops"):
        budget_of({"max_time": "5x", "max_flops": 0})
    assert not budget_of({}) and budget_of({"max_flops": "1e15"}) == Budget(max_flops=1e15)


def test_what_is_used_up_first_ends_it():
    budget = Budget(max_time=10, max_flops=100)
    assert budget.used(5, 20) == 0.5 and budget.used(5, 80) == 0.8
    assert [budget.ended_by(*spent) for spent in ((9, 99), (10, 0), (0, 101))] == [
        None,
        "max_time",
        "max_flops",
    ]


def test_the_rate_falls_with_the_budget():
    lr = LearningRate(steps=100, shape="cosine")
    assert lr(0, 0.5) == pytest.approx(0.5) and lr(3, 1.0) == pytest.approx(0)
    assert lr(60, 0.5) == lr(60) and LearningRate(100)(3, 0.9) == 1


class Small(nn.Module):
    """A convolution, and attention over its pixels; with what a count must leave alone."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 5, 3, padding=1), nn.BatchNorm2d(5)

    def forward(self, x):
        x = nn.functional.dropout(self.norm(self.conv(x)), 0.5, self.training)
        rows = x.flatten(2).transpose(1, 2)
        return nn.functional.scaled_dot_product_attention(rows, rows, rows)


def test_flops_are_those_of_products_and_nothing_is_left_behind():
    network, state = Small(), torch.get_rng_state()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    # forward and the gradient of the weights (the image needs none), and attention: two products, four back
    convolution, attention = 2 * 2 * 16 * 5 * 3 * 9, 6 * 2 * 16 * 16 * 5
    assert flops(network, lambda n: n(torch.zeros(1, 3, 4, 4))) == convolution + attention
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(p.grad is None for p in network.parameters()) and torch.equal(torch.get_rng_state(), state)
    network.conv.requires_grad_(False)
    network.norm.requires_grad_(False)
    assert flops(network, lambda n: n(torch.zeros(1, 3, 4, 4))) == convolution + attention * 2 / 3
    network.eval().norm.bias.requires_grad_()
    assert flops(network, lambda n: n(torch.zeros(1, 3, 4, 4))) == convolution / 2 + attention


@pytest.fixture(scope="module")
def worked(tmp_path_factory):
    """(the folder of a run that 2.5 steps of work are given to, what it says of its cost)"""
    folder = tmp_path_factory.mktemp("worked")
    one = go(folder / "one", "trainer.max_steps=1", "trainer.max_flops=1e15")["budget"]
    assert (
        one["ended_by"] == "max_steps" and one["images"] == 8 and one["flops"] == 8 * one["flops_per_image"]
    )
    most = 2.5 * one["flops"]
    return folder / "run", most, go(folder / "run", f"trainer.max_flops={most}")["budget"]


def test_work_ends_a_run_as_its_last_step_does(worked, capsys):
    folder, most, cost = worked
    assert (
        cost["ended_by"] == "max_flops" and cost["steps"] == 3 and cost["flops"] == pytest.approx(1.2 * most)
    )
    assert read_checkpoint(folder / "checkpoints" / "last.ckpt")["global_step"] == 3
    told = json.loads((folder / "run.json").read_text())
    assert told["state"] == "done" and told["results"]["budget"] == cost and "val/loss" in told["results"]
    assert "FLOPs an image" in (folder / "log").read_text()
    assert "ended by max_flops at step 3" in (folder / "log").read_text()
    expected = [
        1e-3 * LearningRate(6, 1, "cosine")(k, min(1, k * cost["flops"] / 3 / most)) for k in (1, 2, 3)
    ]
    assert rates(folder) == pytest.approx(expected) and rates(folder)[-1] == 0
    assert go(folder, f"trainer.max_flops={most}")["budget"] == cost
    assert "already finished" in capsys.readouterr().out


def test_a_run_that_goes_on_spends_what_is_left(worked, tmp_path, capsys):
    folder, most, cost = worked
    typed = [f"trainer.max_flops={most}", "lr.steps=6"]
    go(tmp_path / "run", *typed, "trainer.max_steps=2")
    again = go(tmp_path / "run", *typed)["budget"]
    assert again["flops"] == cost["flops"] and again["ended_by"] == "max_flops"
    a, b = weights(folder), weights(tmp_path / "run")
    assert all(torch.equal(a[name], b[name]) for name in a)
    said = capsys.readouterr().out
    assert "learning rate" not in said
    assert "step 1/2, " in said and "step 3/3, 100 % of max_flops, " in said  # not of a million
    longer = go(tmp_path / "run", f"trainer.max_flops={2 * most}", "lr.steps=6")["budget"]
    assert longer["steps"] == 5 and "the learning rate at step 3 goes from 0 to" in capsys.readouterr().out
    go(tmp_path / "run", "trainer.max_steps=6")  # and without a budget
    assert read_checkpoint(tmp_path / "run" / "checkpoints" / "last.ckpt")["global_step"] == 6


def test_a_run_that_has_spent_all_does_no_step_more(worked, tmp_path):
    folder, most, cost = worked
    go(tmp_path / "run", f"trainer.max_flops={most}")
    (tmp_path / "run" / "run.json").unlink()  # killed before it had measured
    assert go(tmp_path / "run", f"trainer.max_flops={most}")["budget"] == cost | {
        "seconds": pytest.approx(cost["seconds"], abs=5)
    }
    a, b = weights(folder), weights(tmp_path / "run")
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_a_cost_that_was_edited_is_refused(worked, tmp_path):
    go(tmp_path / "run", "trainer.max_flops=1e15", "trainer.max_steps=1")
    path = tmp_path / "run" / "checkpoints" / "last.ckpt"
    edited = read_checkpoint(path)
    edited["spent"]["seconds"] = -1.0
    torch.save(edited, path)
    path.with_name("last.ckpt.json").unlink()
    with pytest.raises(DataError, match="cannot go on"):
        go(tmp_path / "run", "trainer.max_flops=1e15", "trainer.max_steps=2")


@pytest.fixture
def clock(monkeypatch):
    """A clock that goes on by a second in each batch, and by a hundred in each validation."""
    now = [0.0]

    def later(owner, name, seconds):
        then = getattr(owner, name)

        def changed(self, *args):
            now[0] += seconds
            return then(self, *args)

        monkeypatch.setattr(owner, name, changed)

    later(spending.Spending, "on_train_batch_end", 1)
    later(EvaluateSamples, "on_validation_epoch_end", 100)
    monkeypatch.setattr(spending, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    return now


def test_time_is_that_of_training_alone(tmp_path, clock):
    typed = ["trainer.max_time=4s", "trainer.max_steps=40", "loader.batch_size=1000", "evaluator.every=1"]
    cost = go(tmp_path / "run", *typed, "network.channels=4")["budget"]
    assert cost["ended_by"] == "max_time" and cost["steps"] == cost["seconds"] == 4 and clock[0] > 200
    assert rates(tmp_path / "run")[-1] == pytest.approx(1e-3 * LearningRate(40, 1, "cosine")(4, 3 / 4))


def test_a_step_is_one_with_accumulated_gradients_too(tmp_path, clock):
    typed = ["trainer.max_time=3s", "trainer.accumulate_grad_batches=2", "callbacks.checkpoint.every=1"]
    cost = go(tmp_path / "run", *typed)["budget"]
    assert cost["seconds"] == 4 and cost["steps"] == 2 and cost["images"] == 32


def test_an_autoencoder_has_a_budget_too(tmp_path, capsys):
    typed = ["task=autoencoder", "data=digits", "metrics=none", "logger=none", "trainer.max_flops=1"]
    typed += ["autoencoder.network.channels=8", "loader.batch_size=8", f"dir={tmp_path / 'run'}"]
    cfg, choices = composed(typed)
    cost = run_job(cfg, tmp_path / "run", typed, choices)["budget"]
    assert cost["steps"] == 1 and cost["ended_by"] == "max_flops" and cost["flops_per_image"] > 1e5
    assert "warning: trainer.max_flops was used up by the first step" in capsys.readouterr().err


def test_a_classifier_has_a_budget_too(worked, tmp_path, capsys):
    def train(folder, *more):
        typed = [
            "task=classifier",
            f"task.ckpt={worked[0]}",
            "task.steps=3",
            "task.batch_size=4",
            "task.channels=8",
        ]
        typed += ["logger=none", *more, f"dir={tmp_path / folder}"]
        cfg, choices = composed(typed)
        return run_job(cfg, tmp_path / folder, typed, choices), weights_of(tmp_path / folder)

    def weights_of(folder):
        return read_checkpoint(folder / "checkpoints" / "last.ckpt")["state_dict"]

    results, whole = train("whole")
    assert "budget" not in results
    results, same = train("same", "trainer.max_flops=1e15")
    assert results["budget"]["ended_by"] == "task.steps" and results["budget"]["images"] == 12
    assert all(torch.allclose(whole[k], same[k], atol=1e-6) for k in whole)
    each = results["budget"]["flops_per_image"]
    results, _ = train("cut", f"trainer.max_flops={5 * each}")
    assert results["budget"]["steps"] == 2 and "ended by max_flops at step 2" in capsys.readouterr().out


def test_work_that_cannot_be_counted_is_said_or_refused(tmp_path, monkeypatch, capsys):
    def passes(self, batch):
        raise RuntimeError("no formula")

    monkeypatch.setattr(DiffusionModule, "passes", passes)
    with pytest.raises(
        ConfigError, match=r"cannot be counted: RuntimeError: no formula\n.*\n.*trainer.max_time"
    ):
        go(tmp_path / "refused", "trainer.max_flops=1e15")
    cost = go(tmp_path / "run", "trainer.max_time=9h", "trainer.max_steps=1")["budget"]
    assert cost["flops"] is None and cost["ended_by"] == "max_steps"
    assert "cannot be counted" in capsys.readouterr().err


def test_a_table_shows_what_each_training_has_cost(tmp_path):
    cells = [
        {"id": str(k), "typed": [], "values": {"channels": str(k)}, "folder": f"jobs/{k}"} for k in (1, 2)
    ]
    plan = {"name": "x", "command": "x", "layout": {}, "varying": {"channels": ["1", "2"]}, "cells": cells}
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    cost = {"ended_by": "max_flops", "steps": 12, "seconds": 3.5, "flops": 2.5e9}
    rows = [{"id": "1", "state": "done", "results": {"fid": 1.0, "budget": cost}}]
    rows += [
        {"id": "2", "state": "done", "results": {"fid": 2.0, "budget": {"ended_by": "|<b>", "steps": "x"}}}
    ]
    (tmp_path / "results.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    table = markdown(tmp_path)
    assert "| channels=1 | max_flops | 12 | 3.5 | 2.5e+09 |" in table.replace("| 1 |", "| channels=1 |")
    assert "| 2 | \\|\\<b> |  |  |  |" in table
    head, one, _ = flat(tmp_path).splitlines()
    assert (
        "budget.ended_by,budget.steps,budget.seconds,budget.flops" in head
        and "max_flops,12,3.5,2500000000.0" in one
    )
