"""What W&B is given: read back from the files of offline runs; and the page on which it is looked at."""

import json
import re
from pathlib import Path

import pytest
from commands import QUICK
from test_sweep import sweep
from wandb_file import read

from diffexp.report.tracking import by_column

GOLDEN = Path(__file__).parent / "workspace.json"


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """A training, as a sweep of one, with W&B offline."""
    cwd = tmp_path_factory.mktemp("wandb")
    quick = [a for a in QUICK if a not in ("logger=none", "evaluator.every=0")]
    code, out = sweep(
        *quick, "trainer.max_steps=24", "trainer.log_every_n_steps=2", "evaluator.every=1", "schedule=linear",
        "model.bpd_terms=2", "seed=3,4", "name=little", cwd=cwd,
    )  # fmt: skip
    assert code == 0, out
    (folder,) = (cwd / "runs" / "little").glob("sweep_*")
    return folder, out


def test_every_job_is_a_run_of_the_group_of_its_sweep(swept):
    folder, _ = swept
    jobs = sorted((folder / "jobs").iterdir())
    assert len(jobs) == 2
    for job in jobs:
        told = read(job)
        assert told["run"].run_group == f"little/{folder.name}" and told["run"].job_type == "train"
        assert {"schedule=linear", "prediction=v", "sampler=ddim"} <= set(told["run"].tags)
        assert told["exit"] == 0 and told["artifacts"] == [] and "source" not in told["config"]
        assert told["config"]["sampler"]["steps"] == 3 and told["config"]["choices"]["schedule"] == "linear"
        assert "wandb sync" in (folder / "logs" / f"{job.name}.txt").read_text()
    assert {read(job)["config"]["seed"] for job in jobs} == {3, 4}


def test_what_was_logged_and_measured_is_in_it(swept):
    folder, _ = swept
    job = next((folder / "jobs").iterdir())
    told, results = read(job), json.loads((job / "run.json").read_text())["results"]
    promised = {
        "train/loss", "val/loss", "val/bpd", "train/grad_norm", "train/lr", "train/images_per_s",
        "val/fid_digits64", "val/accuracy_svm", "val/samples", "by_t/mse_q1", "by_t/vlb_q4",
        "by_t/gradient_q2", "by_snr/mse_3",
    }  # fmt: skip
    assert promised <= set(told["history"])
    assert told["history"]["val/samples"][-1]["_type"] == "images/separated"
    assert any(path.endswith(".png") for path in told["files"])
    lines = [json.loads(line) for line in (job / "metrics.jsonl").read_text().splitlines()]
    logged = [line["train/loss"] for line in lines if "train/loss" in line]
    assert told["history"]["train/loss"] == pytest.approx(logged)
    for key in ("fid_digits64", "accuracy_svm", "train_seconds"):
        assert told["summary"][key] == pytest.approx(results[key])
    assert told["summary"]["cards"]["fid_digits64"]["n"] == 20


def test_a_sweep_has_a_run_with_its_table_and_its_report(swept):
    folder, out = swept
    told = read(folder)
    assert told["run"].job_type == "sweep" and told["run"].run_group == f"little/{folder.name}"
    table, page = told["summary"]["cells"], told["summary"]["report"]
    assert (table["_type"], table["nrows"]) == ("table-file", 2) and page["_type"] == "html-file"
    (file,) = folder.glob(f"wandb/offline-run-*/files/{table['path']}")
    cells = json.loads(file.read_text())
    assert cells["columns"][0] == "seed" and [row[0] for row in cells["data"]] == [3, 4]
    assert "fid_digits64" in cells["columns"]
    assert "wandb sync" in out


def test_a_column_has_one_type(tmp_path):
    """eta has `hat` beside its numbers, and a hash may read like a number."""
    head = ["sampler.eta", "seed", "fid", "id"]
    rows = [["0", "1", "2.5", "12e456789012"], ["hat", "2", "", "123456789012"], ["0.5", "3", "1e3", "ab"]]
    found = by_column(head, rows)
    assert found == [
        ["0", 1.0, 2.5, "12e456789012"], ["hat", 2.0, None, "123456789012"], ["0.5", 3.0, 1000.0, "ab"],
    ]  # fmt: skip
    assert by_column(["id"], [["12e456789012"], ["123456789012"]]) == [["12e456789012"], ["123456789012"]]
    import wandb

    table = wandb.Table(columns=head, data=found)
    assert table.data[1] == ["hat", 2.0, None, "123456789012"]


def test_workspace_is_the_one_that_was_looked_at(swept, job):
    """After a change that is wanted, delete workspace.json and run this again."""
    pytest.importorskip("wandb_workspaces")
    folder, _ = swept
    out = job("task=workspace", f"task.sweep={folder}", "logger.entity=me", folder="page")
    text = re.sub(r'"__id__": "\w+"', '"__id__": "x"', (out / "workspace.json").read_text())
    if not GOLDEN.exists():
        GOLDEN.write_text(text + "\n")
    assert json.loads(text) == json.loads(GOLDEN.read_text())
    plots = json.loads(text)["spec"]["section"]["panelBankConfig"]["sections"]
    assert [p["name"] for p in plots] == ["quality", "samples", "sweep", "training", "by noise level"]
    drawn = {
        m for s in plots for p in s["panels"] for m in p["config"].get("metrics", ()) if "/" in m
    }  # every line of it is one that a training logs
    told = read(next((folder / "jobs").iterdir()))["history"]
    assert drawn - {"by_snr/mse_1", "by_snr/mse_6"} <= set(told)
