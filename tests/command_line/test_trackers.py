"""What each tracker is given by jobs of every kind; W&B is in test_wandb.py."""

import csv
import json
import sys

import pytest
from commands import QUICK

from diffexp.errors import ConfigError, DivergedError, Interrupted

SHORT = [a for a in QUICK if a != "logger=none"] + ["trainer.log_every_n_steps=1"]


@pytest.fixture
def calls():
    from plugins import recorder

    recorder.calls.clear()
    return recorder.calls


def own(name):
    return ["plugins=[plugins]", "logger=none", f"logger._target_=plugins.recorder.{name}"]


def lines(run):
    return [json.loads(text) for text in (run / "metrics.jsonl").read_text().splitlines()]


def table(run):
    with (run / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def by_step(rows):
    """{step: {key: value}} of metrics.jsonl."""
    made = {}
    for row in rows:
        made.setdefault(row["step"], {}).update(
            {k: v for k, v in row.items() if k not in ("step", "seconds") and v is not None}
        )
    return made


def test_a_training_gives_its_tracker_curves_pictures_and_results(job, calls, capsys):
    job(*SHORT, *own("Recorder"))
    assert "recorded in somewhere" in capsys.readouterr().out
    assert calls[:2] == [("open", "digits", "train", True, 0), ("cut", -1)]
    logged = [call for call in calls if call[0] == "log"]
    assert [step for _, step, keys in logged if "train/loss" in keys] == [1, 2, 3, 4, 5, 6]
    *_, image, (_, step, keys), (_, values, cards), close = calls
    assert image == ("image", "val/samples", "step_00000006.png", 6) and step == 6
    assert {"final/fid_digits64", "final/accuracy_svm"} <= keys
    assert {"fid_digits64", "train_seconds"} <= values and cards == {"fid_digits64", "accuracy_svm"}
    assert close == ("close", False)


def test_another_task_is_a_run_of_its_kind(job, run, calls):
    job("task=evaluate", f"task.ckpt={run}", "metrics.n=20", *own("Recorder"))
    assert [call[0] for call in calls] == ["open", "summary", "image", "close"]
    assert calls[0][2] == "evaluate" and {"fid_digits64", "nfe"} <= calls[1][1]
    assert calls[2] == ("image", "samples", "grid.png", None)


def test_a_tracker_of_before_is_given_what_wandb_is(job, run, calls):
    job(*SHORT, *own("Before"))
    assert calls[0] == ("open", "train")
    assert [step for _, step, keys in calls[1:-1] if "train/loss" in keys] == [1, 2, 3, 4, 5, 6]
    assert [keys for _, _, keys in calls[1:-1] if "val/samples" in keys]
    assert calls[-1][:2] == ("close", False) and {"cards", "fid_digits64"} <= set(calls[-1][2])


@pytest.mark.parametrize("name, why", [("Broken", "no room for it"), ("Shut", "the door is locked")])
def test_a_tracker_that_fails_ends_no_run(job, capsys, name, why):
    out = job(*SHORT, *own(name))
    said = capsys.readouterr()
    assert f"the tracker failed ({why}): metrics.jsonl has the values" in said.err
    assert said.err.count("the tracker failed") == 1
    assert [row["step"] for row in lines(out)][:6] == [1, 2, 3, 4, 5, 6]


def test_a_divergence_and_a_preemption_are_told(job, calls):
    with pytest.raises(DivergedError):
        job(*SHORT, *own("Recorder"), "optimizer.lr=1e30", "lr.warmup=0", folder="diverged")
    *_, (_, title, text, stopped), close = calls
    assert (title, stopped, close) == ("digits: diverged", False, ("close", True))
    assert "is not finite" in text
    calls.clear()
    with pytest.raises(Interrupted):
        job(*SHORT, *own("Recorder"), "+logger.stop_at=3", folder="stopped")
    *_, (_, title, text, stopped), close = calls
    assert (title, stopped, close) == ("digits: stopped", True, ("close", False))
    assert "stopped by SIGTERM at step" in text and "goes on" in text


def test_metrics_csv_is_the_table_of_metrics_jsonl(job, run):
    out = job(*SHORT, "logger=csv", "evaluator.every=1")
    first = table(out)
    assert [row["step"] for row in first] == [str(k) for k in range(1, 7)]
    wanted = by_step(lines(out))
    assert {int(r["step"]): {k: float(v) for k, v in r.items() if v and k != "step"} for r in first} == wanted
    assert first[0]["final/fid_digits64"] == "" and float(first[5]["final/fid_digits64"]) > 0
    job(*SHORT, "logger=csv", "evaluator.every=1", "trainer.max_steps=8")
    second = table(out)
    assert [row["step"] for row in second] == [str(k) for k in range(1, 9)]
    assert second[5]["final/fid_digits64"] == "" and float(second[7]["final/fid_digits64"]) > 0
    assert second[2]["train/loss"] == first[2]["train/loss"]
    measured = job("task=evaluate", f"task.ckpt={run}", "metrics.n=20", "logger=csv", folder="measured")
    ((values,), results) = table(measured), json.loads((measured / "run.json").read_text())["results"]
    assert float(values["fid_digits64"]) == results["fid_digits64"] and values["step"] == ""


def test_tensorboard_reads_a_run_that_has_gone_on_as_one(job, run):
    pytest.importorskip("tensorboard")
    out = job(*SHORT, "logger=tensorboard", "evaluator.every=1")
    job(*SHORT, "logger=tensorboard", "evaluator.every=1", "trainer.max_steps=8")
    assert len(list((out / "tensorboard").iterdir())) == 2
    shown = read(out)
    wanted = {row["step"]: row["train/loss"] for row in lines(out) if "train/loss" in row}
    assert {e.step: e.value for e in shown.Scalars("train/loss")} == pytest.approx(wanted, rel=1e-6)
    assert [e.step for e in shown.Scalars("train/loss")] == list(range(1, 9))
    picture = shown.Images("val/samples")[-1]
    assert picture.step == 8
    assert picture.encoded_image_string == (out / "samples" / "step_00000008.png").read_bytes()
    assert "| kind | train |" in text(shown, "run") and "| schedule | cosine |" in text(shown, "run")
    results = json.loads((out / "run.json").read_text())["results"]
    assert f"| fid_digits64 | {results['fid_digits64']:.6g} | extractor: digits64" in text(shown, "results")
    assert shown.Scalars("final/fid_digits64")[-1].value == pytest.approx(results["fid_digits64"])
    measured = job("task=evaluate", f"task.ckpt={run}", "metrics.n=20", "logger=tensorboard", folder="other")
    assert "| kind | evaluate |" in text(read(measured), "run")


def read(run):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    shown = EventAccumulator(str(run / "tensorboard"), {"scalars": 0, "images": 0, "tensors": 0})
    return shown.Reload()


def text(shown, key):
    return shown.Tensors(key)[-1].tensor_proto.string_val[0].decode()


def test_trackio_has_the_run(job, tmp_path, monkeypatch):
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    pytest.importorskip("trackio")
    from trackio.sqlite_storage import SQLiteStorage

    out = job(*SHORT, "logger=trackio", "evaluator.every=1")
    name = f"digits-run-{(out / 'trackio' / 'id').read_text()}"
    assert SQLiteStorage.get_runs("diffexp") == [name]
    rows = SQLiteStorage.get_logs("diffexp", name)
    wanted = {row["step"]: row["train/loss"] for row in lines(out) if "train/loss" in row}
    assert {r["step"]: r["train/loss"] for r in rows if "train/loss" in r} == pytest.approx(wanted)
    (results,) = [row for row in rows if "results" in row]
    assert "| accuracy_svm |" in json.dumps(results["results"])


@pytest.mark.parametrize("package", ["tensorboard", "trackio"])
def test_a_missing_extra_is_said_before_the_work(job, tmp_path, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ConfigError) as error:
        job(*SHORT, f"logger={package}")
    assert f"{package} is not installed" in str(error.value)
    assert f"pip install 'diffexp[{package}]'" in str(error.value) and "at: logger" in str(error.value)
    assert not (tmp_path / "run").exists()
