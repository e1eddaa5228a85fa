"""result.json: of each task, of runs that fail, are stopped or run out of disk, and what is never in it."""

import hashlib
import json
import math
from contextlib import nullcontext

import pytest
from commands import QUICK, composed
from result_form import SCHEMA, faults, read_result

from diffexp.errors import ConfigError, DataError, DivergedError, Interrupted, ResourceError
from diffexp.run import result
from diffexp.run.folder import Record
from diffexp.tasks.run import run_job


def go(folder, *typed):
    typed = [*typed, f"dir={folder}"]
    cfg, choices = composed(typed)
    return run_job(cfg, folder, typed, choices)


def test_the_form_is_strict():
    good = result.result(folder := result.Path("/nowhere"), {}, 0.0, 1.0, {"a": 1.0}, None)
    assert [line for line in faults(good) if "missing" not in line] == []
    about = {"task": "x", "name": "x", "seed": 0, "command": "", "overrides": []}
    good = result.result(folder, about, 0.0, 1.0, {"a": 1.0, "b": 2})
    assert list(faults(good)) == [] and good["files"] == [] and good["config_sha256"] is None
    bad = {
        "schema": 2, "status": "ok", "exit_code": 256, "started": "1970", "seconds": -1.0,
        "metrics": {"a": 1.0}, "files": ["log"], "overrides": [1], "error": {"what": "x"},
    }  # fmt: skip
    for key, value in bad.items():
        assert list(faults(good | {key: value})) != []
    assert SCHEMA["$id"].endswith(f"/{result.VERSION}") and SCHEMA["properties"]["schema"] == {
        "const": result.VERSION, "description": "The version of this form.",
    }  # fmt: skip


ENDS = [
    (None, "done", 0), (ConfigError("a"), "failed", 2), (DataError("a"), "failed", 3),
    (DivergedError("a"), "failed", 4), (ResourceError("a"), "failed", 5), (Interrupted("a"), "stopped", 75),
    (KeyboardInterrupt(), "stopped", 130), (RuntimeError("a"), "failed", 1), (MemoryError(), "failed", 5),
    (OSError(28, "No space left on device"), "failed", 5),
]  # fmt: skip


@pytest.mark.parametrize(("error", "status", "code"), ENDS, ids=lambda value: type(value).__name__)
def test_each_end_has_its_status_and_its_code(tmp_path, error, status, code):
    record = Record(tmp_path / "run", {"name": "n", "seed": 3, "task": {"_target_": "a.B"}}, ["seed=3"])
    with nullcontext() if error is None else pytest.raises(type(error)), record:
        assert read_result(tmp_path / "run")["status"] == "running"
        record.results["fid"] = 2.0
        if error is not None:
            raise error
    told = read_result(tmp_path / "run")
    assert (told["status"], told["exit_code"], told["task"]) == (status, code, "B")
    assert (told["error"] is None) == (error is None) and told["metrics"]["fid"]["value"] == 2.0
    digest = hashlib.sha256((tmp_path / "run" / "config.yaml").read_bytes()).hexdigest()
    assert told["config_sha256"] == digest
    paths = {row["path"]: row["bytes"] for row in told["files"]}
    assert set(paths) == {"config.yaml", "overrides.yaml", "run.json", "log"}
    assert paths["config.yaml"] == (tmp_path / "run" / "config.yaml").stat().st_size


def test_an_error_comes_in_its_three_parts_without_secrets(tmp_path):
    config = {"name": "n", "task": {}, "logger": {"api_key": "abc123xyz"}}
    typed = ["logger.api_key=abc123xyz", "data.path=https://me:secret9@host/x"]
    with pytest.raises(DataError), Record(tmp_path / "run", config, typed):
        raise DataError("token=abc123xyz is no token", "https://me:secret9@host/x", "give another")
    told = read_result(tmp_path / "run")
    assert told["error"]["type"] == "DataError" and told["error"]["do"] == "give another"
    text = (tmp_path / "run" / "result.json").read_text()
    assert "abc123xyz" not in text and "secret9" not in text


def test_what_json_does_not_have_is_null_or_text(tmp_path):
    with Record(tmp_path / "run", {}, []) as record:
        record.results |= {
            "fid": math.nan,
            "bpd": math.inf,
            "path": str(tmp_path),
            "list": [math.inf, (1,)],
            "on": True,
        }
        record.results["cards"] = {"fid": {"n": 20, "standard_error": math.nan}, "bpd": {"api_key": "abc"}}
    told = read_result(tmp_path / "run")
    assert told["metrics"]["fid"] == {
        "value": None, "standard_error": None, "n": 20, "card": {"n": 20, "standard_error": None},
    }  # fmt: skip
    assert told["results"] == {"path": str(tmp_path), "list": [None, [1]], "on": True}
    assert "abc" not in json.dumps(told)


def test_warnings_are_in_it_and_links_and_many_files_are_not(tmp_path):
    from diffexp.notice import warn

    with Record(tmp_path / "run", {}, []) as record:
        warn(f"something of {tmp_path} token=abc123")
        (record.folder / "many").mkdir()
        for k in range(1005):
            (record.folder / "many" / f"{k:04}").write_text("")
        (record.folder / "link").symlink_to("/etc/passwd")
        (record.folder / ".hidden").write_text("")
    told = read_result(tmp_path / "run")
    assert told["warnings"] == [f"something of {tmp_path} token=***"]
    assert len(told["files"]) == 1000 and told["files_left_out"] == 9
    assert not {"link", ".hidden"} & {row["path"] for row in told["files"]}


def test_a_training_and_an_evaluation(tmp_path):
    go(tmp_path / "run", *QUICK, "trainer.max_steps=2", "loader.batch_size=8", "trainer.max_flops=1e15")
    told = read_result(tmp_path / "run")
    assert told["task"] == "train" and told["status"] == "done" and told["results"]["budget"]["steps"] == 2
    fid = told["metrics"]["fid_digits64"]
    assert fid["n"] == 20 and fid["standard_error"] > 0 and fid["card"]["split"] == "train"
    assert "checkpoints/last.ckpt" in {row["path"] for row in told["files"]}
    go(tmp_path / "again", "task=evaluate", f"task.ckpt={tmp_path / 'run'}", "metrics.n=20", "logger=none")
    again = read_result(tmp_path / "again")
    assert again["task"] == "evaluate" and set(again["metrics"]) >= {"fid_digits64", "accuracy_svm"}
