"""Sweeps: which folder, which jobs, what is done again; processes that are killed; table and report."""

import csv
import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import time
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
from commands import CONF, QUICK
from forked import Started, finished
from hydra import compose, initialize_config_dir
from tiny_autoencoder import run

from diffexp.config.compat import BASE
from diffexp.files import write
from diffexp.report.html import page, refresh
from diffexp.report.table import markdown, pivot, read
from diffexp.run import results as store
from diffexp.sweep.cell import folder_id
from diffexp.sweep.compose import cell_of
from diffexp.sweep.local_pool import Pool

RUN = Path(__file__).parents[2] / "run.py"
QUICKER = ["task=evaluate", "network=gaussian", "metrics.n=20", "evaluator.pictures=20", "logger=none"]


def sweep(*args, cwd, env=None, wait=True):
    process = Started("-m", *args, cwd=cwd, env=env)
    if not wait:
        return process
    out, _ = process.communicate()
    return process.returncode, out


def rows(folder):
    return [json.loads(line) for line in (folder / "results.jsonl").read_text().split("\n") if line]


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """η × steps with a job that fails, once."""
    cwd = tmp_path_factory.mktemp("sweep")
    code, out = sweep(*QUICKER, "sampler.eta=0,1,-1", "sampler.steps=2,4", cwd=cwd)
    (folder,) = (cwd / "runs" / "evaluate").glob("sweep_*")
    return cwd, folder, code, out


def test_failing_jobs_cost_only_themselves(swept):
    _, folder, code, out = swept
    assert code == 1
    states = sorted(row["state"] for row in rows(folder))
    assert states == ["done"] * 4 + ["failed"] * 2
    assert "eta=-1 is negative" in out and "2 of 6 jobs failed; the same command tries them again" in out
    failed = [row for row in rows(folder) if row["state"] == "failed"]
    assert all(row["code"] == 2 and not (folder / row["folder"]).exists() for row in failed)


def test_rows_tell_what_was_made_how(swept):
    _, folder, _, _ = swept
    done = [row for row in rows(folder) if row["state"] == "done"]
    assert len({row["id"] for row in done}) == 4
    for row in done:
        assert row["results"]["fid_digits64"] > 0 and row["results"]["nfe"] in (2, 4)
        card = row["results"]["cards"]["fid_digits64"]
        assert card["n"] == 20 and f"steps={row['results']['nfe']}" in card["sampler"]
        assert (folder / row["folder"] / row["results"]["picture"]).is_file()
        assert json.loads((folder / row["folder"] / "run.json").read_text())["state"] == "done"


def test_the_same_command_runs_only_what_is_missing(swept):
    cwd, folder, _, _ = swept
    before = rows(folder)
    code, out = sweep(*QUICKER, "sampler.eta=0,1", "sampler.steps=2,4,5", cwd=cwd)  # a column more
    assert code == 0 and "6 jobs, 4 of them done before" in out
    new = rows(folder)[len(before) :]
    assert [row["results"]["nfe"] for row in new] == [5, 5]
    table = (folder / "table.md").read_text()
    assert "| sampler.eta \\ sampler.steps | 2 | 4 | 5 |" in table
    assert len(re.findall(r"\*\*", table)) >= 2


def test_dry_run_plans_and_does_nothing(tmp_path):
    code, out = sweep(*QUICKER, "sampler.steps=2,7", "guidance.scale=1,2", "dry_run=true", cwd=tmp_path)
    assert code == 0 and "4 jobs to do, 540 network calls" in out  # 20 images: 2 + 7 calls, and twice that
    assert list(tmp_path.iterdir()) == []


def test_dry_run_refuses_a_codec_without_a_file(tmp_path):
    """As the job itself would be: here it is a folder without a checkpoint."""
    (tmp_path / "empty").mkdir()
    run(tmp_path / "auto")
    typed = ["codec=autoencoder", "network=unet_latent", "trainer.max_steps=2", "dry_run=true"]
    code, out = sweep(*typed, "codec.ckpt=empty,auto", cwd=tmp_path)
    assert code == 3 and re.search(r"empty .* refused", out) and re.search(r"auto .* to do", out), out
    assert "1 jobs to do, 128 network calls" in out
    assert "1 refused, the first by:\nno checkpoints/last.ckpt in empty\n  at: codec.ckpt\n  do: type" in out
    assert {path.name for path in tmp_path.iterdir()} == {"empty", "auto"}


@pytest.mark.slow
def test_the_line_for_all_autoencoders_of_a_sweep_works_when_pasted(tmp_path):
    """In a folder whose name has a blank, as its own comment says it."""
    text = (CONF.parent / "sweeps" / "autoencoder.yaml").read_text()
    line = next(line.strip("# ") for line in text.splitlines() if "paste -sd," in line)
    for name in ("508138a3e42e", "a4c2ff257916"):
        run(tmp_path / "a sweep" / "jobs" / name)
    line = line.replace("SWEEP", "a\\ sweep").replace("python run.py", f"{sys.executable} {RUN}")
    line = f"{line} data=digits metrics=digits trainer.max_steps=1 dry_run=true"
    done = subprocess.run(["bash", "-c", line], cwd=tmp_path, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0 and "2 jobs to do, 128 network calls" in done.stdout, done


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("sampler=nonsense,ddim", "there is no sampler=nonsense"),
        ("seed=0,1 sampler.eat=1", r"there is no sampler\.eat"),
        ("hydra.launcher.jobs=0", "jobs=0"),
        ("seed=0,1 sweep.rows=3", r"sweep\.rows is not a key"),
    ],
)
def test_a_sweep_whose_first_line_is_faulty_is_refused_before_it_begins(tmp_path, typed, told):
    code, out = sweep(*QUICKER, *typed.split(), cwd=tmp_path)
    assert code == 2 and re.match(f"error: {told}", out), out
    assert list(tmp_path.iterdir()) == []


def test_a_line_that_cannot_be_composed_costs_itself(tmp_path):
    """And one that was typed twice is one job; also in the table of a dry run, which does nothing."""
    args = [*QUICKER, "sampler.steps=2", "sampler=ddim,nonsense,ddim", "seed=0,0"]
    code, out = sweep(*args, "dry_run=true", cwd=tmp_path)
    assert code == 2 and "error: there is no sampler=nonsense" in re.sub(r"[│\s]+", " ", out), out
    assert "1 jobs to do, 40 network calls" in out and "1 refused, the first by" in out
    assert "4 of the 6 lines are the same as another" in out
    assert list(tmp_path.iterdir()) == []
    code, out = sweep(*args, cwd=tmp_path)
    (folder,) = (tmp_path / "runs" / "evaluate").glob("sweep_*")
    assert code == 1 and "2 jobs, 0 of them done before; 4 of the 6 lines are the same as another" in out
    found = {row["state"]: row for row in rows(folder)}
    assert len(rows(folder)) == 2 and found["done"]["results"]["nfe"] == 2
    assert found["failed"]["code"] == 2 and found["failed"]["error"].startswith(
        "there is no sampler=nonsense"
    )
    assert "there is no sampler=nonsense" in (folder / "report.html").read_text()
    assert {cell["id"] for cell in read(folder).plan["cells"]} == {row["id"] for row in rows(folder)}
    assert "1 of 2 jobs failed" in out and not (folder / "multirun.yaml").exists()


@pytest.mark.slow
def test_a_line_that_ends_elsewhere_is_done_once(tmp_path):
    """On the command line."""
    args = [*QUICKER, "sampler.steps=2", "+sweep.note='a\u2028b\u0085c'", "seed=0,1"]
    assert sweep(*args, cwd=tmp_path)[0] == 0
    code, out = sweep(*args, cwd=tmp_path)
    assert code == 0 and "2 jobs, 2 of them done before" in out and "\u2028" not in out


@pytest.mark.parametrize("link", ["multirun.yaml", "jobs"])
def test_a_sweep_writes_through_no_link_in_its_folder(tmp_path, link):
    (tmp_path / "sweep").mkdir()
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "sweep" / link).symlink_to(tmp_path / "mine")
    code, out = sweep(*QUICKER, "sampler=nonsense,ddim", "hydra.sweep.dir=sweep", cwd=tmp_path)
    assert (code, "this is a link" in out) == ((3, True) if link == "jobs" else (2, False)), out
    assert (tmp_path / "mine").read_text() == "mine"


@pytest.mark.slow
def test_a_launcher_that_is_killed_is_continued(tmp_path):
    args = [*QUICKER, "sampler.steps=2,3,4,60", "seed=0,1"]
    process = sweep(*args, cwd=tmp_path, wait=False)
    end, folder = time.time() + 120, None
    while time.time() < end and (folder is None or len(rows(folder)) < 3):
        found = list((tmp_path / "runs").glob("evaluate/sweep_*/results.jsonl"))
        folder = found[0].parent if found else None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert folder is not None
    before = rows(folder)
    assert 3 <= len(before) < 8
    time.sleep(1)
    assert len(rows(folder)) == len(before)  # its processes are gone with it
    code, out = sweep(*args, cwd=tmp_path)
    assert code == 0 and f"8 jobs, {len(before)} of them done before" in out
    ids = [row["id"] for row in rows(folder)]
    assert len(ids) == len(set(ids)) == 8
    table = (folder / "table.md").read_text()
    assert "±" in table and "seed" not in table  # averaged over seeds


def test_a_job_that_is_killed_is_told_and_the_others_end(tmp_path):
    """The plug-in kills the process of one job from within."""
    (tmp_path / "deadly.py").write_text(
        "import os\nfrom dataclasses import dataclass\nfrom diffexp.samplers import DDIM\n"
        "@dataclass(frozen=True, kw_only=True)\nclass Deadly(DDIM):\n"
        "    def run(self, *args):\n        if self.steps == 3: os.kill(os.getpid(), 9)\n"
        "        yield from super().run(*args)\n"
    )
    args = ["plugins=[deadly]", "sampler._target_=deadly.Deadly", "sampler.steps=2,3,4"]
    code, out = sweep(*QUICKER, *args, cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)})
    (folder,) = (tmp_path / "runs" / "evaluate").glob("sweep_*")
    assert code == 1 and "killed by SIGKILL" in out
    assert [row["state"] for row in rows(folder)] == ["done", "failed", "done"]


def test_a_process_that_dies_before_it_has_a_job_is_replaced(tmp_path):
    """As the system may end it while it loads a large model."""
    args = [*QUICKER, "sampler.steps=2"]
    with initialize_config_dir(str(CONF), **BASE):
        cell = cell_of(tmp_path, compose("config", args), {}, args)
    pool = Pool(tmp_path, 1, 1)
    pool.expect(cell)
    first = pool.workers[0].process
    os.kill(first.pid, signal.SIGKILL)
    first.join()
    news = [(n.kind, n.code) for n in pool.run(iter([cell]), lambda: False) if n.kind != "progress"]
    pool.close()
    assert news == [("started", 0), ("done", 0)]
    assert rows(tmp_path)[0]["state"] == "done"


def test_two_launchers_do_not_share_a_folder(tmp_path):
    folder = tmp_path / "runs" / "x"
    folder.mkdir(parents=True)
    with (folder / ".lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        held.write("process 1 on here since now\n")
        held.flush()
        code, out = sweep(*QUICKER, "sampler.steps=2,3", f"hydra.sweep.dir={folder}", cwd=tmp_path)
    assert code == 2 and "another process is at work" in out and "process 1 on here" in out


@pytest.mark.slow
def test_trainings_are_swept_over_seeds(tmp_path):
    quick = [a for a in QUICK if not a.startswith("logger")]
    args = [*quick, "logger=none", "trainer.max_steps=3", "prediction=v,eps", "seed=0,1"]
    code, out = sweep(*args, "name=little", cwd=tmp_path)
    assert code == 0, out
    (folder,) = (tmp_path / "runs" / "little").glob("sweep_*")
    p = pivot(folder, "fid_digits64")
    assert p.rows == ["v", "eps"] and all(s.count == 2 and s.spread for s in p.stats.values())
    assert "±" in markdown(folder)


def test_folder_counts_keys_that_vary_and_values_that_do_not():
    a = folder_id(["task.ckpt=runs/a", "sampler.eta=0,1", "sampler.steps=10,20"])
    assert a == folder_id(["sampler.steps=10,20,50", "task.ckpt=runs/a", "sampler.eta=0,1", "dry_run=true"])
    assert a != folder_id(["task.ckpt=runs/b", "sampler.eta=0,1", "sampler.steps=10,20"])
    assert folder_id(["guidance.interval=[0,1]"]) != folder_id(["guidance.interval=[0,2]"])


def test_a_row_that_was_cut_off_is_no_row(tmp_path):
    store.append(tmp_path, {"id": "a", "state": "done"})
    with (tmp_path / store.ROWS).open("a") as file:
        file.write('{"id": "b", "sta')
    store.append(tmp_path, {"id": "c", "state": "done"})
    store.append(tmp_path, {"id": "a", "state": "failed"})
    assert {k: row["state"] for k, row in store.rows(tmp_path).items()} == {"a": "failed", "c": "done"}


class Page(HTMLParser):
    """The JSON of the page, its words, and what it would load."""

    def __init__(self, text):
        super().__init__()
        self.inside, self.data, self.words, self.loads = None, "", "", []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.inside = tag
        self.loads += [v for k, v in attrs if k in ("src", "href") and v and not v.startswith("data:")]

    def handle_data(self, data):
        if self.inside == "script" and data.lstrip().startswith("["):
            self.data += data
        elif self.inside not in ("script", "style"):
            self.words += data


def test_report_is_one_small_file_that_tells_the_rows(swept):
    _, folder, _, _ = swept
    refresh(folder)
    text = (folder / "report.html").read_text()
    shown = Page(text)
    assert len(text) < 2_000_000 and not shown.loads
    ids = {c["id"] for c in json.loads((folder / "plan.json").read_text())["cells"]}
    told = {row["id"]: row for row in json.loads(shown.data)}
    wanted = {k: r for k, r in store.rows(folder).items() if k in ids}
    assert told == wanted
    for row in wanted.values():
        if row["state"] == "done":
            assert f"{row['results']['fid_digits64']:.4g}" in shown.words
    assert text.count("data:image/jpeg") == sum(r["state"] == "done" for r in wanted.values())


def test_csv_has_a_line_for_each_job(swept):
    _, folder, _, _ = swept
    with (folder / "results.csv").open() as file:
        lines = list(csv.DictReader(file))
    found = store.rows(folder)
    assert len(lines) == len(json.loads((folder / "plan.json").read_text())["cells"])
    for line in lines:
        if line["state"] == "done":
            assert float(line["fid_digits64"]) == found[line["id"]]["results"]["fid_digits64"]


def test_nothing_of_a_row_becomes_markup(swept, tmp_path):
    _, folder, _, _ = swept
    evil = "<script>alert(1)</script>"
    plan = json.loads((folder / "plan.json").read_text())
    plan["command"], plan["name"] = evil, evil
    for cell in plan["cells"]:
        cell["values"] = {k: evil for k in cell["values"]}
        cell["typed"] = [evil]
    write(tmp_path / "plan.json", json.dumps(plan))
    for cell in plan["cells"]:
        row = {"id": cell["id"], "state": "failed", "error": evil, "seconds": 1, "typed": [evil]}
        store.append(tmp_path, row)
    assert evil not in page([tmp_path])


SWEEPS = sorted((CONF.parent / "sweeps").glob("*.yaml"))
KEPT = ("eta_steps",)  # the others are alike, and each costs a start of the program
CLOSED = ["network=gaussian"]  # in the place of a checkpoint
NEEDS = {
    "schedules": [], "objectives": [], "text_conditioning": [], "autoencoder": [], "adapters": ["init=words"],
    "prior": ["init=words"], "text_guidance": ["task.ckpt=words"],
}  # fmt: skip


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    """The folder of a run that knows captions."""
    folder = tmp_path_factory.mktemp("words") / "words"
    quick = [a for a in QUICK if not a.startswith(("network", "trainer"))]
    typed = ["experiment=digits_text", "data.without=[seven]", *quick, "network.channels=16"]
    code, out = finished(*typed, "trainer.max_steps=1", f"dir={folder}", cwd=folder.parent)
    assert code == 0, out
    return folder


@pytest.mark.parametrize(
    "file",
    [pytest.param(f, marks=[] if f.stem in KEPT else pytest.mark.slow, id=f.stem) for f in SWEEPS],
)
def test_every_sweep_file_plans(file, tmp_path, request):
    if "cifar10" in file.read_text() and file.stem not in KEPT and not os.environ.get("DIFFEXP_DATA"):
        pytest.skip("needs CIFAR-10")
    more = NEEDS.get(file.stem, CLOSED)
    if any(text.endswith("=words") for text in more):
        (tmp_path / "words").symlink_to(request.getfixturevalue("words"))
    typed = ["-cd", str(file.parent), "-cn", file.stem, "dry_run=true", *more]
    code, out = finished(*typed, cwd=tmp_path)
    assert code == 0 and re.search(r"\d+ jobs to do", out), out
    assert "error" not in out


@pytest.mark.slow
def test_two_processes_in_a_job_do_not_start_the_sweep_again(tmp_path):
    """Lightning starts the other rank by the command line of the job, and each job has ranks of its own."""
    quick = [a for a in QUICK if not a.startswith("trainer")]
    ddp = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "trainer.max_steps=3"]
    code, out = sweep(*quick, *ddp, "seed=0,1", "name=ranks", cwd=tmp_path)
    assert code == 0, out
    (folder,) = (tmp_path / "runs" / "ranks").glob("*")
    assert [row["state"] for row in rows(folder)] == ["done", "done"]
    for row in rows(folder):
        steps = torch.load(folder / row["folder"] / "checkpoints" / "last.ckpt", weights_only=True)
        assert steps["global_step"] == 3
    assert {p.name for p in (folder / "jobs").iterdir()} == {row["id"] for row in rows(folder)}
    assert not (folder / "checkpoints").exists()


@pytest.mark.parametrize(
    ("layout", "heads"),
    [
        ({}, ("sampler.eta", "sampler.steps")),
        ({"rows": "sampler.steps"}, ("sampler.steps", "")),
        ({"columns": "sampler.eta"}, ("sampler.steps", "sampler.eta")),
        ({"rows": ["sampler.eta", "sampler.steps"]}, ("sampler.eta, sampler.steps", "")),
    ],
)
def test_layout_of_the_table(swept, tmp_path, layout, heads):
    _, folder, _, _ = swept
    plan = json.loads((folder / "plan.json").read_text())
    write(tmp_path / "plan.json", json.dumps(plan | {"layout": layout}))
    assert pivot(tmp_path, "fid_digits64").heads == heads


@pytest.mark.slow
def test_what_a_sweep_file_overrides_counts_as_typed_for_each_job(tmp_path):
    """A run that was trained with another sampler, and the row's own line typed again."""
    train = [*QUICK, "sampler=ddpm", "dir=run"]
    assert finished(*train, cwd=tmp_path)[0] == 0
    file = ["-cd", str(CONF.parent / "sweeps"), "-cn", "eta_steps", "task.ckpt=run", "sampler.eta=0,1"]
    code, out = sweep(*file, "sampler.steps=2", "metrics.n=20", "logger=none", "dir=sweep", cwd=tmp_path)
    assert code == 0, out
    (folder,) = (p.parent for p in tmp_path.rglob("results.jsonl"))
    for row in rows(folder):
        assert "sampler=ddim" in row["typed"] and "task=evaluate" in row["typed"]
        assert row["results"]["cards"]["fid_digits64"]["sampler"].startswith("DDIM(steps=2")
    typed = [*rows(folder)[0]["typed"], "dir=again"]
    assert finished(*typed, cwd=tmp_path)[0] == 0
    told = json.loads((tmp_path / "again" / "run.json").read_text())["results"]
    assert told["fid_digits64"] == pytest.approx(rows(folder)[0]["results"]["fid_digits64"], rel=1e-9)
