"""The parts of a sweep in this process: lines, plans, rows, what is shown, links, clocks."""

import json
import re
import sys
import time
from pathlib import Path

import pytest
from commands import CONF
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from rich.console import Console
from test_sweep import QUICKER, rows

from diffexp.config.compat import BASE
from diffexp.errors import ConfigError
from diffexp.report import html as report
from diffexp.report.html import page, refresh
from diffexp.report.labels import named, short
from diffexp.report.table import metrics_of, read
from diffexp.run import console as screen
from diffexp.run import results as store
from diffexp.run.console import values_table
from diffexp.sweep import worker as work
from diffexp.sweep.cell import Cell, identity, plan_of, write_plan
from diffexp.sweep.compose import Lines
from diffexp.sweep.cost import show
from diffexp.sweep.launcher import _end, _folder, _name, _run
from diffexp.sweep.local_pool import Pool
from diffexp.sweep.progress import Board
from diffexp.sweep.worker import News
from diffexp.training.direction import direction


def lines_of(folder, *typed):
    """Lines of a sweep over steps, and the list of those that are composed."""
    seen = []

    def compose_one(number):
        seen.append(number)
        with initialize_config_dir(str(CONF), **BASE):
            return compose("config", typed_lines[number]), {}

    typed_lines = [[*QUICKER, text] for text in typed]
    return Lines(folder, typed_lines, compose_one, CONF), seen


def test_the_first_job_begins_when_the_first_line_is_composed(tmp_path):
    """And the others are composed while it runs."""
    lines, seen = lines_of(tmp_path, *(f"sampler.steps={n}" for n in range(2, 10)))
    lines.first()
    pool = Pool(tmp_path, 1, 1)
    running = pool.run(lines.steps(), lambda: False)
    assert next(running).kind == "started" and seen == [0]
    told = next(news for news in running if news.kind == "done")
    assert told.cell.id == lines.cells[0].id and seen == list(range(8))
    running.close()
    pool.close()
    assert [row["id"] for row in rows(tmp_path)] == [lines.cells[0].id]


def test_the_plan_is_right_whenever_the_report_is_made(tmp_path, monkeypatch):
    """It has the cells that are known, and the keys of all lines."""
    typed = ["sampler.steps=2", "sampler.eat=1", "sampler.steps=3", "sampler.steps=2", "sampler.steps=4"]
    lines, _ = lines_of(tmp_path, *typed)
    plan, plans = plan_of("x", {}, lines.keys, "run"), []
    monkeypatch.setattr(report, "refresh", lambda folder: plans.append(read(folder)))

    def at_once(steps, stopping):
        for step in steps:
            if isinstance(step, Cell):
                store.append(tmp_path, row := work.row(step, time.monotonic(), "done", results={}))
                yield News(step, "done", row=row)
            elif step is not None:
                yield step

    tell = lambda: write_plan(tmp_path, plan, lines.cells)  # noqa: E731
    assert not _run(lines, at_once, tell)
    assert plans and all(len(p.cells) == sum(row is not None for _, row in p.cells) for p in plans)
    assert [row["state"] for _, row in plans[-1].cells] == ["done", "failed", "done", "done"]
    assert plans[0].plan["varying"] == {"sampler.steps": ["2", "3", "4"]}
    assert (lines.total, lines.same, lines.done, lines.complete) == (4, 1, 0, True)
    again, _ = lines_of(tmp_path, *typed)
    assert [step.cell.shown["sampler.eat"] for step in again.steps() if step is not None] == ["1"]
    assert again.done == 3


def test_a_report_that_is_made_while_a_job_ends_is_of_one_moment(tmp_path, monkeypatch):
    """Each part of the page was read anew, and a row more in one of them ended the sweep with a KeyError."""
    lines, _ = lines_of(tmp_path, "sampler.steps=2", "sampler.steps=3")
    cells = [cell for cell in lines if cell is not None]
    write_plan(tmp_path, plan_of("x", {}, lines.keys, "run"), cells)
    results = {"fid_x": 1.0, "nfe": 2}
    store.append(tmp_path, work.row(cells[0], time.monotonic(), "done", results=results))

    def ends(found):
        store.append(tmp_path, work.row(cells[1], time.monotonic(), "done", results=results))
        return metrics_of(found)

    monkeypatch.setattr(report, "metrics_of", ends)
    assert page([tmp_path]).count("<tr data-id=") == 2
    assert "1 done, 1 to do" in page([tmp_path]) or "2 done" in page([tmp_path])


def resolved(*more):
    with initialize_config_dir(str(CONF), **BASE):
        return OmegaConf.to_container(compose("config", [*QUICKER, *more]), resolve=True)


@pytest.mark.parametrize("key", ["seed", "task", "sampler", "metrics", "evaluator", "precision"])
def test_each_key_of_a_job_is_of_its_identity(key):
    config = resolved()
    other = config[key] | {"more": 1} if isinstance(config[key], dict) else 7
    assert identity(config | {key: other}) != identity(config)
    assert identity(config | {"name": "y", "dir": "z", "dry_run": True}) == identity(config)


def test_two_seeds_are_two_jobs_though_nothing_else_has_them():
    typed = ["evaluator.seed=0", "loader.seed=0", "model.seed=0"]
    assert identity(resolved(*typed, "seed=0")) != identity(resolved(*typed, "seed=1"))


@pytest.mark.parametrize("letter", ["\u0085", "\u2028", "\x1c", "\r"])
def test_letters_that_end_a_line_elsewhere_lose_no_row(tmp_path, letter):
    """In a value and in an error: the row is found again, and the job is not made once more."""
    lines, _ = lines_of(tmp_path, f"+loader.note='a{letter}b'", f"+loader.note='c{letter}d'")
    for step in lines.steps():
        store.append(tmp_path, work.row(step, time.monotonic(), "done", results={}, error=f"x{letter}y"))
    assert len(store.rows(tmp_path)) == 2
    again, _ = lines_of(tmp_path, f"+loader.note='a{letter}b'", f"+loader.note='c{letter}d'")
    assert list(again.steps()) == [None, None] and again.done == 2
    write_plan(tmp_path, plan_of("x", {}, again.keys, "run"), again.cells)
    refresh(tmp_path)
    told = (tmp_path / "table.md").read_text() + (tmp_path / "results.csv").read_text()
    assert letter not in told and told.count("\n") == 4


def test_a_clock_that_is_set_back_changes_no_duration(tmp_path, monkeypatch):
    clock = (3600.0 * hours for hours in range(1000, 0, -1))
    monkeypatch.setattr(time, "time", lambda: next(clock))
    monkeypatch.setattr(sys, "argv", ["run.py"])
    cell = Cell("a", (), {}, {}, tmp_path / "jobs" / "a")
    news = work.perform(tmp_path, cell, ("run.py",))
    assert news.kind == "failed" and 0 <= rows(tmp_path)[0]["seconds"] < 60
    assert rows(tmp_path)[0] == news.row


@pytest.mark.parametrize("link", ["logs", "logs/a.txt", "jobs", "jobs/a"])
def test_a_job_writes_through_no_link_in_the_folder_of_its_sweep(tmp_path, monkeypatch, link):
    folder, outside = tmp_path / "sweep", tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("mine")
    (folder / link).parent.mkdir(parents=True)
    (folder / link).symlink_to(outside / "file" if link.endswith("txt") else outside)
    monkeypatch.setattr(sys, "argv", ["run.py"])
    news = work.perform(folder, Cell("a", (), {}, {}, folder / "jobs" / "a"), ("run.py",))
    assert (news.kind, news.code) == ("failed", 3) and "this is a link" in news.text
    assert [row["state"] for row in rows(folder)] == ["failed"]
    assert [p.name for p in outside.iterdir()] == ["file"] and (outside / "file").read_text() == "mine"


def test_a_job_without_a_row_has_failed(tmp_path, monkeypatch):
    """Where not even that could be written."""
    lines, _ = lines_of(tmp_path, "sampler.steps=2", "sampler.steps=3")
    write_plan(tmp_path, plan_of("x", {}, lines.keys, "run"), [cell for cell in lines if cell is not None])
    store.append(tmp_path, work.row(lines.cells[0], time.monotonic(), "done", results={}))
    assert _end(lines, False) == 1
    assert _end(lines, True) == 75


def test_values_of_secrets_that_vary_are_not_in_the_plan(tmp_path):
    lines, _ = lines_of(tmp_path, "+loader.api_key=hush-a", "+loader.api_key=hush-b")
    cells = [cell for cell in lines if cell is not None]
    write_plan(tmp_path, plan_of("x", {}, lines.keys, "run"), cells)
    assert len(cells) == 2 and "hush" not in (tmp_path / "plan.json").read_text()
    assert lines.keys == {"loader.api_key": ["***"]} and "hush" not in _name(lines, cells[0])


def test_what_looks_like_markup_is_shown_as_it_is(tmp_path, capsys):
    """rich takes [/b] in a str for the end of bold, and :warning: for a sign."""
    odd = "[/b] [red]x :warning: \x1b[31m\u202e"
    lines, _ = lines_of(tmp_path / "[/b]x", "+loader.note='[/b]'", "+loader.note='[bold]y'", "sampler.eat=1")
    assert show(lines) == [2]
    board = Board(1)
    with board:
        cell = Cell("a", (), {}, {}, tmp_path)
        board.hear(News(cell, "started"), odd)
        board.hear(News(cell, "progress", odd, 1, 2), odd)
        Console().print(board._table())
        board.hear(News(cell, "failed", f"{odd}\u2028\nmore"), odd)
        board.hear(News(cell, "failed", ""), odd)
        board.say(odd)
    Console().print(values_table([(odd, 1.0, {"note": odd})]))
    screen.say(odd)
    out = capsys.readouterr().out
    assert "\x1b" not in out and "\u202e" not in out and "\u2028" not in out
    plain = re.sub(r"[│┃\s]+", " ", out)
    assert "[/b]" in plain and "[bold]y" in plain and out.count(":warning:") >= 7, out


def test_a_run_that_is_a_job_of_a_sweep_is_called_by_what_varied_there(tmp_path):
    cells = [
        {
            "id": str(i),
            "typed": [],
            "values": {"autoencoder.kl": kl, "network.channels": "4"},
            "folder": f"jobs/{i}",
        }
        for i, kl in enumerate(("1e-6", "1e-3"))
    ]
    plan = {"name": "a", "command": "c", "layout": {}, "cells": cells, "complete": True}
    varying = {"autoencoder.kl": ["1e-6", "1e-3"], "network.channels": ["4"]}
    (tmp_path / "plan.json").write_text(json.dumps(plan | {"varying": varying}))
    job = str(tmp_path / "jobs" / "1")
    assert short("codec.ckpt", job, 1) == "kl=1e-3 channels=4"
    assert short("codec.ckpt", job, 2) == "kl=1e-3 channels=4"
    assert named({"codec.ckpt": job, "seed": "1"}) == "kl=1e-3 channels=4 seed=1"
    assert named({"task.n": "5", "metrics.n": None, "eta": "0"}) == "task.n=5 metrics.n= eta=0"
    for other in (str(tmp_path / "jobs" / "2"), str(tmp_path / "none" / "jobs" / "1"), "0.5"):
        assert short("key", other, 1) == other


@pytest.mark.parametrize(
    ("metric", "better"),
    [
        ("right_held_out@1", "higher"),
        ("accuracy_svm", "higher"),
        ("clip_score", "higher"),
        ("win_rate_a", "higher"),
        ("swapped", "lower"),
        ("fid_digits64@2", "lower"),
        ("rfid_digits64", "lower"),
        ("val/loss", "lower"),
        ("train/loss_prior", "lower"),
        ("bpd_half_width", "lower"),
        ("kl", "neither"),
        ("half_shown", "neither"),  # of one's own: nothing is known of it
        ("fiddle", "neither"),
    ],
)
def test_a_table_knows_whether_more_is_better(metric, better):
    assert direction(metric) == better
    assert direction(metric, {"better": "higher"}) == "higher"
    assert direction(metric, {"better": 3}) == better


def test_dir_names_the_folder_of_a_sweep():
    hydra = {"sweep": {"dir": "runs/x/sweep_1"}, "overrides": {"hydra": []}}
    config, lines = OmegaConf.create({"hydra": hydra}), [["seed=0", "dir=a"], ["seed=1", "dir=a"]]

    def compose(number):
        return OmegaConf.create({"name": "x", "dir": "${name}/a"}), {}

    assert _folder(config, [["seed=0"]], compose) == (Path("runs/x/sweep_1"), [["seed=0"]])
    assert _folder(config, lines, compose) == (Path("x/a"), [["seed=0"], ["seed=1"]])
    with pytest.raises(ConfigError, match="a sweep has one folder, not dir=a, dir=b"):
        _folder(config, [["dir=a"], ["dir=b"]], compose)
    config.hydra.overrides.hydra = ["hydra.sweep.dir=b"]
    with pytest.raises(ConfigError, match=r"a sweep has one folder, not dir=a, hydra\.sweep\.dir=b"):
        _folder(config, lines, compose)
