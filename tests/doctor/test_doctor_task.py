"""task=doctor: from a checkpoint to the table, the page and the lines to paste; and what is refused."""

import json
import shlex

import pytest
from commands import QUICK, composed
from patients import patient
from PIL import Image

from diffexp.config.check import check
from diffexp.doctor import Examined, Finding
from diffexp.doctor.page import doctor_page
from diffexp.errors import ConfigError
from diffexp.tasks.run import run_job

HOSTILE = "</style><script>alert(1)</script>"


def do(folder, *typed):
    line = ["logger=none", f"dir={folder}", *typed]
    cfg, choices = composed(line)
    return run_job(cfg, folder, line, choices)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of six steps, which has learnt nothing."""
    folder = tmp_path_factory.mktemp("sick") / "run"
    do(folder, *(text for text in QUICK if not text.startswith("logger")), "trainer.log_every_n_steps=1")
    return folder


@pytest.fixture(scope="module")
def found(run):
    folder = run.parent / "doctor"
    do(folder, "task=doctor", f"task.ckpt={run}", "task.n=40", "evaluator.batch_size=40")
    return folder


def test_a_run_that_has_learnt_nothing_is_found_out(found):
    results = json.loads((found / "run.json").read_text())["results"]
    named = [f["cause"] for f in results["findings"] if f["strength"] >= 1]
    assert results["failed"] == {} and named == results["causes"]
    assert {"a training that is not finished", "a network that has not learnt"} & set(named)
    assert results["cards"]["fid_digits64"]["n"] == 40
    with Image.open(found / "samples.png") as picture:
        assert picture.width > 100


def test_each_line_to_paste_composes_and_is_one_that_can_be_run(found, run):
    results = json.loads((found / "run.json").read_text())["results"]
    lines = {line for f in results["findings"] for line in f["do"]}
    assert len(lines) >= 8
    for line in lines:
        words = shlex.split(line)
        typed = words[words.index("run.py") + 1 :] if "run.py" in words else words[1:]
        cfg, _ = composed([*typed, "dir=out"])
        if "task=evaluate" in typed:
            assert f"task.ckpt={run}" in typed
        check({"task": dict(cfg.task)})


def test_the_page_shows_all_of_it_and_loads_nothing(found):
    page = (found / "doctor.html").read_text()
    assert "<h1>doctor</h1>" in page and "data:image/png;base64," in page
    assert "another schedule than that of the training" in page and "a training set learnt by heart" in page
    assert "http" not in page.replace("http://www.w3.org", "") and "<script" not in page


def test_a_page_escapes_what_others_have_written():
    do = [["task=evaluate", f"task.ckpt={HOSTILE}"]]
    one = Finding(HOSTILE, "blur", 2.0, HOSTILE, do, ([HOSTILE], [[HOSTILE]]))
    page = doctor_page(Examined([one], {"steps": HOSTILE}, []), patient(n=40), ["diffexp"])
    assert "<script" not in page and page.count("&lt;script&gt;") >= 6
    assert "'task.ckpt=" in page.replace("&#x27;", "'")  # quoted for a shell


@pytest.mark.parametrize(
    ("typed", "says", "where"),
    [
        ("task.n=3", "n=3", "task.n"),
        ("task.only=[stesp]", "there is no examination stesp", "task.only"),
        ("schedule=linear", "schedule is of the training run", "schedule"),
        ("data=digits_text", "the model makes images of", "data"),
    ],
)
def test_what_cannot_be_is_told_before_anything_is_written(run, tmp_path, typed, says, where):
    with pytest.raises(ConfigError, match=says) as error:
        do(tmp_path / "out", "task=doctor", f"task.ckpt={run}", typed)
    assert error.value.where == where and not (tmp_path / "out").exists()
