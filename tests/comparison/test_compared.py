"""task=compare, and the tables of a sweep: what is separated, what is refused, what cannot be said."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from commands import composed
from rich.console import Console

from diffexp.comparison import Evidence
from diffexp.comparison.evidence import NAME, load, save
from diffexp.errors import ConfigError, DataError
from diffexp.files import write
from diffexp.report.comparison_page import markdown
from diffexp.report.differences import shared, to_best
from diffexp.report.html import refresh
from diffexp.report.table import read
from diffexp.tasks.compare import Compare, _tables
from diffexp.tasks.run import run_job

PAIRING = {"noise": {"seed": 0, "shape": [1, 8, 8]}, "asked": "ab", "n": 1000}
SHARED = np.random.default_rng(0).normal(size=10)  # what one noise does to any FID


def results(value, error=0.5, **card):
    return {"fid_x": value, "cards": {"fid_x": {"n": 1000, "split": "train", "standard_error": error} | card}}


def run(folder, value, evidence=True, seed=0, config="{}", **card):
    folder.mkdir(parents=True)
    record = {"seed": seed, "state": "done", "results": results(value, **card)}
    write(folder / "run.json", json.dumps(record))
    write(folder / "config.yaml", config)
    if evidence:
        own = np.random.default_rng(int(100 * value)).normal(size=10)
        save(folder, Evidence({"fid_x/without": value + SHARED / 6 + own / 100}, PAIRING))
    return str(folder)


def verdicts(*runs, **options):
    task = Compare(tuple(runs), **options)
    return task._verdicts(task._variants())


def test_shared_noise_separates_what_two_numbers_would_not(tmp_path):
    a, b, c = (run(tmp_path / k, v, config=f"k: {k}") for k, v in (("a", 3.0), ("b", 3.2), ("c", 3.01)))
    better, near = verdicts(a, b, c)
    assert (better.variant, better.baseline, better.words) == ("b", "a", "worse")
    assert better.difference.paired and better.difference.error < 0.06
    assert near.words == "not separated" and near.decides.startswith("about ")
    old = run(tmp_path / "old", 3.2, evidence=False, config="k: old")
    (unpaired,) = verdicts(a, old)
    assert unpaired.words == "not separated" and unpaired.difference.note == "no evidence was kept"
    assert unpaired.difference.error == pytest.approx(0.5**0.5)
    (named,) = verdicts(a, b, baseline=b)
    assert (named.variant, named.words) == ("a", "better")


@pytest.mark.parametrize(
    ("card", "why"),
    [
        ({"split": "test"}, r"another reference \(test, not train\)"),
        ({"n": 500}, r"another N \(500, not 1000\)"),
        ({"extractor": "other"}, r"another extractor \(other, not none\)"),
    ],
)
def test_what_was_measured_otherwise_is_refused_in_a_sentence(tmp_path, card, why):
    a, b = run(tmp_path / "a", 3.0), run(tmp_path / "b", 3.2, config="k: b", **card)
    with pytest.raises(ConfigError, match=f"none of these can be compared: {why}"):
        verdicts(a, b)
    c = run(tmp_path / "c", 3.1, config="k: c")
    assert [v.words.partition(":")[0] for v in verdicts(a, b, c)] == ["not comparable", "worse"]


def test_runs_that_differ_by_their_seed_are_one(tmp_path):
    runs = [
        run(tmp_path / f"{k}{s}", v + s / 9 + (s % 2) / 50, seed=s, config=f"k: {k}\nseed: {s}")
        for k, v in (("a", 3.0), ("b", 3.5))
        for s in range(3)
    ]
    (verdict,) = verdicts(*runs)
    assert verdict.difference.count == 3 and verdict.difference.unit == "seeds"
    assert verdict.difference.value == pytest.approx(0.5) and verdict.words == "worse"
    (few,) = verdicts(*runs[:2], *runs[3:5])
    assert few.words == "of 2 seeds nothing can be said, 3 are needed"


def test_the_same_run_twice_is_no_second_seed(tmp_path):
    runs = [run(tmp_path / name, v, seed=0, config=f"k: {name[0]}") for name, v in (("a", 3.0), ("a2", 3.0))]
    (verdict,) = verdicts(*runs)
    assert verdict.difference.value == 0 and verdict.difference.paired
    other = run(tmp_path / "b", 3.5, seed=0, config="k: b")
    assert {v.difference.unit for v in verdicts(*runs, other)} == {"images"}


def test_names_of_strangers_are_shown_as_text(tmp_path, capsys):
    a, b = (run(tmp_path / f"{k}<b>[red]x", v, config=f"k: {k}") for k, v in (("a", 3.0), ("b", 3.2)))
    for folder in (a, b):
        path = Path(folder) / "run.json"
        path.write_text(path.read_text().replace("fid_x", "\\u001b[31m<script>[bold]"))
    those = verdicts(a, b)
    assert "<script>" not in markdown(those).replace("\\<script>", "")
    (table,) = _tables(those)
    Console(width=200).print(table)
    out = capsys.readouterr().out
    assert "\x1b[31m" not in out and "<script>[bold]" in out and "<b>[red]x" in out


@pytest.mark.parametrize(
    ("options", "kind", "text"),
    [
        ({"runs": ()}, ConfigError, "no runs are named"),
        ({"runs": ("a",)}, ConfigError, "there is one run, and nothing to compare it with"),
        (
            {"runs": ("a", "b"), "baseline": "c"},
            ConfigError,
            r"c is none of the runs[\s\S]*give one of these: a, b",
        ),
        ({"runs": ("a", "b"), "metrics": ("kid",)}, ConfigError, r"no two of the runs have kid[\s\S]*fid_x"),
        ({"runs": ("a", "none")}, DataError, r"there is no run\.json and no plan\.json here"),
        ({"runs": ("a", "empty")}, DataError, "this run has measured nothing"),
        ({"runs": ("a", "b"), "correction": "no"}, ConfigError, "correction=no"),
    ],
)
def test_what_cannot_be_compared_is_said(tmp_path, monkeypatch, options, kind, text):
    monkeypatch.chdir(tmp_path)
    for k, v in (("a", 3.0), ("b", 3.2)):
        run(tmp_path / k, v, config=f"k: {k}")
    (tmp_path / "empty").mkdir()
    write(tmp_path / "empty" / "run.json", '{"results": {}}')
    with pytest.raises(kind, match=text):
        Compare(**options).check(SimpleNamespace())


def a_sweep(folder, values, evidence=True, seeds=(None,)):
    cells, rows = [], []
    for steps, value in values.items():
        for seed in seeds:
            name = f"{steps}_{seed}"
            keys = {"sampler.steps": str(steps)} | ({} if seed is None else {"seed": str(seed)})
            cells.append({"id": name, "typed": [], "folder": f"jobs/{name}", "values": keys})
            shift = 0.0 if seed is None else int(seed) / 3 + steps * (int(seed) % 2) / 1e3
            run(folder / "jobs" / name, value + shift, evidence)
            rows.append({"id": name, "state": "done", "results": results(value + shift)})
    varying = {"sampler.steps": [str(s) for s in values]} | (
        {} if seeds == (None,) else {"seed": list(seeds)}
    )
    plan = {"name": "x", "command": "python run.py -m x", "layout": {}, "cells": cells, "varying": varying}
    write(folder / "plan.json", json.dumps(plan))
    write(folder / "results.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_cells_that_are_not_separated_share_the_mark_of_the_best(tmp_path):
    snapshot = read(a_sweep(tmp_path, {5: 4.0, 10: 3.01, 20: 3.0}))
    assert shared(snapshot) == {"fid_x": {("", "10")}}
    refresh(tmp_path)
    text = (tmp_path / "table.md").read_text()
    assert "|  | 4 | **3.01** | **3** |" in text and "| **+0.01** ± 0.0" in text and "| **best** |" in text
    assert "difference to the best ± its standard error; bold: not separated (paired, by Holm for 2)" in text
    page = (tmp_path / "report.html").read_text()
    assert page.count("class=best") == 2 and "<select class=baseline" in page


def test_a_number_without_a_better_direction_has_no_best(tmp_path):
    """The divergence of an autoencoder's latents: of what is smaller, less is left."""
    folder = a_sweep(tmp_path / "sweep", {5: 4.0, 10: 3.5, 20: 3.0})
    for path in (folder / "results.jsonl", *folder.glob("jobs/*/run.json")):
        path.write_text(path.read_text().replace("fid_x", "kl"))
    for path in folder.glob(f"jobs/*/{NAME}"):
        save(path.parent, Evidence({"kl/without": load(path.parent).arrays["fid_x/without"]}, PAIRING))
    assert shared(read(folder)) == {"kl": set()}
    refresh(folder)
    text, page = ((folder / name).read_text() for name in ("table.md", "report.html"))
    assert "`kl`, neither is better" in text and "**" not in text and "|  | 4 | 3.5 | 3 |" in text
    assert "<code>kl</code>, neither is better" in page and "class=best" not in page
    assert "row against column: ▲ higher, ▼ lower" in page and ">▲</td>" in page
    (verdict, _) = verdicts(*map(str, sorted(folder.glob("jobs/*"))))
    assert verdict.words == ("higher" if verdict.difference.value > 0 else "lower")
    assert "kl, neither is better, against" in markdown([verdict])


def test_a_sweep_of_trainings_is_compared_over_its_seeds(tmp_path):
    snapshot = read(a_sweep(tmp_path, {5: 4.0, 10: 3.0}, seeds=("0", "1", "2")))
    (verdict,) = to_best(snapshot, "fid_x").values()
    assert verdict.difference.unit == "seeds" and verdict.difference.count == 3 and verdict.words == "worse"
    few = read(a_sweep(tmp_path / "few", {5: 4.0, 10: 3.0}, seeds=("0", "1")))
    assert to_best(few, "fid_x")[("", "5")].separated is None and shared(few) == {"fid_x": set()}


def test_a_job_is_measured_kept_and_compared(tmp_path, monkeypatch):
    """From two evaluations to run.json, with the closed form as a model: nothing is trained."""
    monkeypatch.chdir(tmp_path)
    quick = ["task=evaluate", "network=gaussian", "conditioning=none", "metrics.n=40", "logger=none"]
    for steps in (2, 3):
        typed = [*quick, f"sampler.steps={steps}", f"dir={tmp_path / f'run{steps}'}"]
        cfg, choices = composed(typed)
        run_job(cfg, tmp_path / f"run{steps}", typed, choices)
    kept = load(tmp_path / "run2")
    assert len(kept.arrays["fid_digits64/without"]) == 10 and kept.pairing["n"] == 40
    assert (
        kept.pairing == load(tmp_path / "run3").pairing and (tmp_path / "run2" / NAME).stat().st_size < 2000
    )
    typed = ["task=compare", "task.runs=[run2,run3]", "logger=none"]
    cfg, choices = composed(typed)
    (comparison,) = run_job(cfg, tmp_path / "c", typed, choices)["comparisons"]
    assert comparison["paired"] and comparison["count"] == 40 and comparison["df"] == 9
    low, high = comparison["interval"]
    assert low < comparison["difference"] < high and comparison["metric"] == "fid_digits64"
    assert "95 % interval" in (tmp_path / "c" / "compare.md").read_text()
    assert "<td>40 images</td>" in (tmp_path / "c" / "compare.html").read_text()
