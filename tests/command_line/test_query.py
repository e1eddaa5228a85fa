"""task=query: filters over runs and cells, the best of them, and what a stranger's folder can do to it."""

import fcntl
import json
import os

import pytest
import yaml
from commands import composed
from result_form import read_result

from diffexp.config.quoting import quoted
from diffexp.errors import ConfigError, DataError
from diffexp.report.run_keys import Keys
from diffexp.report.run_rows import rows_in
from diffexp.report.where import filter_of
from diffexp.tasks.run import run_job

ROW = {"a": 1, "b": 2.5, "t": "cosine", "n": None, "on": True, "list": "[1, 2]", "deep.key": "x y"}

HOLDS = [
    ("a=1", True), ("a==1.0", True), ("a=1e0", True), ("a!=1", False), ("a='1'", False), ("t=cosine", True),
    ("t='cosine'", True), ("t=Cosine", False), ("b<3 and b>2", True), ("b<=2.5 and b>=2.5", True),
    ("a<b", False), ("t<d", True), ("t>d", False), ("t<9", False), ("t>=9", False),
    ("n<1", False), ("n>=0", False),
    ("n=null", True), ("n=None", True), ("n!=null", False), ("other=null", True), ("other=1", False),
    ("other!=1", True), ("on=true", True), ("on=1", False), ("on!=false", True), ("a=true", False),
    ("a in [1,2]", True), ("a in [2, 3]", False), ("t in [linear,cosine]", True), ("n in [null]", True),
    ("not a=1", False), ("not (a=1 and b=9)", True), ("a=2 or b=2.5", True), ("a=1 or a=2 and a=3", True),
    ("(a=1 or a=2) and a=3", False), ("deep.key='x y'", True), ('deep.key="x y"', True),
    ("list='[1,2]'", True), ("list='[1,3]'", False),
    ("not not a=1", True), ("  ", True), ("a<1e400", True), ("a>-inf", True), ("a=nan", False),
]  # fmt: skip


@pytest.mark.parametrize(("text", "holds"), HOLDS, ids=[text for text, _ in HOLDS])
def test_filters(text, holds):
    assert filter_of(text).holds(ROW) is holds


BAD = [
    ("a", "lacks one of = != < <= > >= or in, after a, at its end"), ("a=", "lacks a value at its end"),
    ("=1", "lacks a key at '='"), ("a=1 b=2", "lacks and, or, or the end at 'b'"),
    ("(a=1", r"lacks \) at its end"),
    ("a in 1", r"lacks \[ at '1'"), ("a in [1", "lacks , or ] at its end"),
    ("a=1 and", "lacks a key at its end"),
    ("a='x", "cannot be read from"), ("a=1)", r"lacks and, or, or the end at '\)'"),
    ("a ! 1", "cannot be read from"),
    ("(" * 200 + "a=1" + ")" * 200, "nested too deep"), ("not " * 200 + "a=1", "nested too deep"),
    ("t=\u201ccosine\u201d", "typographic quotes"), ("a=1 and t=\u2018x y\u2019", "\u2018x has typographic"),
    ("__import__('os').system('x')=1", "lacks"), ("a.__class__", "lacks"), ("[a for a in b]", "lacks a key"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "said"), BAD, ids=range(len(BAD)))
def test_what_is_no_filter_is_refused_with_its_place(text, said):
    with pytest.raises(ConfigError, match=said):
        filter_of(text)


def test_keys_and_those_that_are_near():
    rows = [
        {
            "schedule": "cosine",
            "sampler.steps": 1,
            "metrics.fid_digits64": 2.0,
            "metrics.fid_digits64.standard_error": 1.0,
        }
    ]
    rows += [{"metrics.kid_a": 1.0, "metrics.kid_a.standard_error": None}]
    rows += [{"metrics.kid_b": 1.0, "metrics.kid_b.standard_error": None, "metrics.val/loss": 1.0}]
    keys = Keys.of(rows)
    meant = {
        "schedule": "schedule", "schedule.name": "schedule", "fid": "metrics.fid_digits64",
        "fid_digits64": "metrics.fid_digits64", "metrics.fid": "metrics.fid_digits64",
        "val/loss": "metrics.val/loss",
    }  # fmt: skip
    assert {typed: keys.meant(typed) for typed in meant} == meant
    near = {
        "kid": r"several metrics\n.*\n.*type kid_a or kid_b", "sampler.stesp": "type sampler.steps",
        "fdi_digits64": "type fid_digits64", "qqq": "see config.yaml",
    }  # fmt: skip
    for typed, said in near.items():
        with pytest.raises(ConfigError, match=said):
            keys.meant(typed)
    with pytest.raises(ConfigError, match="schedule is no metric"):
        keys.metric("schedule")


def test_a_filter_is_one_word_of_the_command_line():
    for value in ("a=1 and b in [1,2]", "schedule.name=cosine and metrics.fid<10", "a<1", "(a=1)", "1"):
        (text,) = quoted([f"task.where={value}"])
        assert composed(["task=query", text])[0].task.where == value


def write_run(folder, state="done", schedule="cosine", seed=0, config=None, **results):
    folder.mkdir(parents=True)
    cards = {"fid_x": {"n": 100, "standard_error": 0.5}}
    record = {
        "state": state,
        "started": "2026-01-01T00:00:00Z",
        "seconds": 1.0,
        "results": results | {"cards": cards},
    }
    (folder / "run.json").write_text(json.dumps(record))
    values = {"seed": seed, "sampler": {"steps": 10 * (seed + 1)}, "logger": {"api_key": "abc123xyz"}}
    values["choices"] = {"schedule": schedule, "task": "evaluate"}
    (folder / "config.yaml").write_text(yaml.safe_dump(values) if config is None else config)


@pytest.fixture
def runs(tmp_path):
    for k, (schedule, fid) in enumerate(
        (("cosine", 3.0), ("cosine", 1.0), ("linear", 0.5), ("cosine", None))
    ):
        write_run(
            tmp_path / "runs" / f"r{k}", schedule=schedule, seed=k, **({} if fid is None else {"fid_x": fid})
        )
    write_run(tmp_path / "runs" / "bad", "DataError: token=abc123xyz is bad\nmore", schedule="linear", seed=9)
    sweep = tmp_path / "runs" / "sweep"
    cells = [
        {"id": c, "typed": [], "values": {"eta": v}, "folder": f"jobs/{c}"}
        for c, v in (("x", "0.5"), ("y", "hat"), ("z", None))
    ]
    plan = {"name": "s", "command": "c", "layout": {}, "varying": {"eta": ["0.5", "hat"]}, "cells": cells}
    write_run(sweep / "jobs" / "x", seed=4)
    (sweep / "plan.json").write_text(json.dumps(plan))
    lines = [
        {"id": "x", "state": "done", "results": {"fid_x": 2.0}},
        {"id": "y", "state": "failed", "error": "no"},
    ]
    (sweep / "results.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return tmp_path / "runs"


def ask(tmp_path, runs, *typed, folder="asked"):
    typed = ["task=query", f"task.runs=[{runs}]", *quoted(typed), f"dir={tmp_path / folder}"]
    cfg, choices = composed(typed)
    run_job(cfg, tmp_path / folder, typed, choices)
    return read_result(tmp_path / folder)["results"]["query"]


def test_the_best_where_something_holds_as_json_and_nothing_else(runs, tmp_path, capsys):
    typed = ["task.where=schedule.name=cosine and metrics.fid_x<10", "task.best=fid", "task.format=json"]
    results = ask(tmp_path, runs, *typed)
    out = capsys.readouterr().out
    told = json.loads(out)
    assert told["schema"] == 1 and (told["found"], told["of"]) == (3, 8) and told["rows"] == results["rows"]
    assert [row["fid_x"] for row in told["rows"]] == [1.0, 2.0, 3.0]
    assert told["rows"][0] == {
        "folder": str(runs / "r1"), "status": "done", "schedule": "cosine", "fid_x": 1.0,
        "fid_x.standard_error": 0.5,
    }  # fmt: skip
    first = ask(tmp_path, runs, *typed, "task.first=1", "task.show=[seed,eta,sampler.steps]", folder="b")
    assert first["rows"] == [{"seed": 1, "eta": None, "sampler.steps": 20}] and first["found"] == 3


def test_what_failed_and_the_cells_of_a_sweep(runs, tmp_path, capsys):
    typed = ["task.where=status in [failed,'to do']", "task.show=[folder,status,error,eta]"]
    rows = ask(tmp_path, runs, *typed)["rows"]
    assert [(os.path.basename(row["folder"]), row["status"]) for row in rows] == [
        ("bad", "failed"), ("y", "failed"), ("z", "to do"),
    ]  # fmt: skip
    assert rows[0]["error"] == "DataError: token=*** is bad" and rows[1]["eta"] == "hat"
    out = capsys.readouterr().out
    assert "3 of 8 runs" in out and "abc123xyz" not in out
    (x,) = ask(tmp_path, runs, "task.where=eta=0.5", "task.show=[fid_x,seed]", folder="b")["rows"]
    assert x == {"fid_x": 2.0, "seed": 4}
    assert ask(tmp_path, runs, "task.where=seed>99", folder="c")["rows"] == []
    assert "0 of 8 runs" in capsys.readouterr().out
    assert len(ask(tmp_path, runs, folder="d")["rows"]) == 8  # and no earlier query is among the rows


@pytest.mark.slow
def test_questions_that_cannot_be_answered_are_refused_before_anything_is_written(runs, tmp_path):
    for typed, said in (
        (["task.where=schedul=cosine"], "no run has schedul\n.*\n.*type schedule"),
        (["task.where=a"], "no run has a"), (["task.best=fidd"], "no run has fidd"),
        (["task.show=[fld]", "task.where=seed"], r"2 problems(.|\n)*lacks one of(.|\n)*no run has fld"),
        (["task.format=xml"], "table or json"), (["task.first=0"], "first=0"),
        (["task.best=seed"], "no metric"),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=said):
            ask(tmp_path, runs, *typed)
    with pytest.raises(DataError, match="no run and no sweep"):
        ask(tmp_path, tmp_path / "empty")
    with pytest.raises(ConfigError, match="no runs are named"):
        run_job(composed(["task=query"])[0], tmp_path / "asked", ["task=query"], {})
    assert not (tmp_path / "asked").exists()


def test_a_strangers_runs_are_read_and_nothing_more(runs, tmp_path):
    tag = "seed: !!python/object/apply:os.system ['touch " + str(tmp_path / "ran") + "']"
    write_run(runs / "tags", config=tag)
    bomb = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"{b}: &{b} [{','.join(['*' + a] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
    )
    write_run(runs / "bomb", config=bomb)
    for name, content in (
        ("list", "[]"),
        ("cut", '{"state": "do'),
        ("deep", '{"a":' * 5000),
        ("state", '{"state": 3}'),
    ):
        (runs / name).mkdir()
        (runs / name / "run.json").write_text(content)
    (runs / "link").mkdir()
    (runs / "link" / "run.json").symlink_to(runs / "r0" / "run.json")
    (runs / "away").symlink_to("/")
    rows = {os.path.basename(row["folder"]): row for row in rows_in([runs])}
    assert {rows[name]["status"] for name in ("list", "cut", "deep", "state", "link")} == {"damaged"}
    assert rows["tags"]["status"] == rows["bomb"]["status"] == "done" and "seed" not in rows["tags"]
    assert "away" not in rows and not (tmp_path / "ran").exists()
    assert rows["r0"]["logger.api_key"] == "***" and "abc123xyz" not in json.dumps(list(rows.values()))


def test_what_a_filter_cannot_see_is_said(runs, tmp_path, capsys):
    for name, state in (("cut", "done"), ("on", "running"), ("whole", "done")):
        write_run(runs / name, state, config="a: [" if name == "cut" else None)
    (runs / "none").mkdir()
    (runs / "none" / "run.json").write_text('{"state": "do')
    with open(runs / "on" / ".lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        ask(tmp_path, runs, "task.where=schedule=cosine", "task.format=json")
    told = capsys.readouterr()
    assert json.loads(told.out)["of"] == 12
    for said in (
        f"1 of 12 runs are damaged, and lack all but folder, status and error: {runs / 'none'}\n",
        f"1 of 12 runs are without a configuration that can be read: {runs / 'cut'}\n",
        f"1 of 12 runs are still running, and have measured nothing yet: {runs / 'on'}\n",
    ):
        assert said in told.err
    (row,) = ask(tmp_path, runs, "task.where=config.error!=null", "task.show=[config.error]", folder="b")[
        "rows"
    ]
    assert "no plain YAML" in row["config.error"]
