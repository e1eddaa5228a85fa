"""What goes wrong in the middle of a run: it is told, it costs no more than it must, and nothing good is
lost.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import torch
from commands import QUICK, composed
from forked import Started, finished
from test_resume_run import LONG, reached, told, wait_for, weights

from diffexp.errors import DivergedError, ResourceError
from diffexp.tasks.run import run_job
from diffexp.training import LearningRate

TIMES = ["times=uniform", "schedule.T=1000"]
BAD = '''
"""A network that goes wrong at its n-th training call, once in this process or always; a metric that
fails.
"""
import torch
from diffexp.metrics import FID
from diffexp.networks import UNet

seen = {"calls": 0}


class Net(UNet):
    def __init__(self, at, always=False, **options):
        super().__init__(**options)
        self.at, self.always = at, always

    def forward(self, x, t, cond=None):
        out = super().forward(x, t, cond)
        if self.training:
            seen["calls"] += 1
            if seen["calls"] == self.at or (self.always and seen["calls"] > self.at):
                out = out * torch.tensor([1.0, float("nan")] + [1.0] * (len(out) - 2)).view(-1, 1, 1, 1)
        return out


class Failing(FID):
    def __init__(self, times, **options):
        super().__init__(**options)
        self.times = times

    def compute(self):
        self.times -= 1
        if self.times >= 0:
            raise RuntimeError("the metric is out of order")
        return super().compute()
'''


@pytest.fixture
def bad(tmp_path, monkeypatch):
    """The package `gone_bad`."""
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "gone_bad.py").write_text(BAD)
    monkeypatch.syspath_prepend(str(tmp_path / "lib"))
    yield
    sys.modules.pop("gone_bad", None)


def job(folder, *typed):
    overrides = [*LONG, "evaluator.every=0", *TIMES, "plugins=[gone_bad]", f"dir={folder}", *typed]
    overrides = [o for o in overrides if not o.startswith("times.")]
    cfg, choices = composed(overrides)
    return run_job(cfg, folder, overrides, choices)


def test_a_divergence_names_its_images_and_the_last_good_checkpoint(bad, tmp_path):
    net = ["network._target_=gone_bad.Net", "+network.at=71", "+network.always=true"]
    with pytest.raises(DivergedError) as error:
        job(tmp_path / "run", *net)
    text = str(error.value)
    assert "the loss is not finite at step 36: images " in text and " at t = 0." in text
    assert "last.ckpt, of step 30, is the last that is good" in text and "on_divergence=rollback" in text
    details = json.loads((tmp_path / "run" / "divergence.json").read_text())
    assert details["step"] == 36 and len(details["images"]) == len(details["t"]) == 1
    assert all(w.isfinite().all() for w in weights(tmp_path / "run").values())
    assert json.loads((tmp_path / "run" / "run.json").read_text())["state"].startswith("DivergedError")


def test_a_divergence_is_gone_back_from_once(bad, tmp_path, capsys):
    net = [
        "network._target_=gone_bad.Net",
        "+network.at=71",
        "on_divergence=rollback",
        "trainer.max_steps=60",
    ]
    results = job(tmp_path / "run", *net)
    assert "going back to step 30, with half the learning rate" in capsys.readouterr().out
    assert results["rolled_back"]["step"] == 36
    rates = dict(told(tmp_path / "run", "train/lr"))
    steps = [step for step, _ in told(tmp_path / "run")]
    assert steps == list(range(5, 65, 5))  # none is missing, none is there twice
    rate = LearningRate(steps=60, warmup=100, shape="cosine")
    assert rates[30] / 1e-3 == pytest.approx(rate(30)) and rates[60] / 1e-3 == pytest.approx(rate(60) / 2)


@pytest.mark.slow
def test_a_run_that_is_killed_after_its_way_back_keeps_half_the_rate(bad, tmp_path):
    """Before its first checkpoint of that rate; then once more, when checkpoints have it."""
    typed = ["network._target_=gone_bad.Net", "+network.at=71", "plugins=[gone_bad]", "dir=run"]
    args = [*LONG, "evaluator.every=0", "on_divergence=rollback", *TIMES, *typed]
    args = [a for a in args if not a.startswith("times.")]
    run = partial(Started, *args, cwd=tmp_path, env={"PYTHONPATH": str(tmp_path / "lib")})
    file, last = tmp_path / "run" / "divergence.json", tmp_path / "run" / "checkpoints" / "last.ckpt.json"

    def killed(when):
        process = run()
        while process.poll() is None and not when():
            time.sleep(0.0005)
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL

    killed(file.exists)
    assert json.loads(file.read_text())["back_to"] == 30 == json.loads(last.read_text())["step"]
    killed(lambda: reached(tmp_path / "run") >= 55)
    process = run()
    out, _ = process.communicate()
    assert process.returncode == 0 and "going on from step 50" in out, out
    rates = dict(told(tmp_path / "run", "train/lr"))
    rate = LearningRate(steps=80, warmup=100, shape="cosine")
    factors = {step: rates[step] / 1e-3 / rate(step) for step in range(5, 80, 5)}
    assert factors == pytest.approx({step: 1 if step <= 30 else 0.5 for step in factors})
    assert json.loads((tmp_path / "run" / "run.json").read_text())["results"]["rolled_back"]["step"] == 36


def test_what_diverges_again_stops(bad, tmp_path):
    net = [
        "network._target_=gone_bad.Net",
        "+network.at=71",
        "+network.always=true",
        "on_divergence=rollback",
    ]
    with pytest.raises(DivergedError, match="it has gone back once"):
        job(tmp_path / "run", *net)


@pytest.mark.parametrize("times", [2, pytest.param(9, marks=pytest.mark.slow)])
def test_a_metric_that_fails_costs_itself(bad, tmp_path, capsys, times):
    metric = ["metrics.metrics.0._target_=gone_bad.Failing", f"+metrics.metrics.0.times={times}"]
    args = [tmp_path / "run", *metric, "evaluator.every=1"]
    if times == 9:
        with pytest.raises(ResourceError, match="failed 3 times in a row") as error:
            job(*args)
        assert error.value.code == 5
        assert all(w.isfinite().all() for w in weights(tmp_path / "run").values())
        return
    job(*args)
    out = capsys.readouterr().out
    assert out.count("the evaluation failed at step") == 2 and "the metric is out of order" in out
    assert len(told(tmp_path / "run", "val/fid_digits64")) == len(told(tmp_path / "run", "val/loss")) - 2
    assert "Traceback" in (tmp_path / "run" / "log").read_text()


def test_a_full_disk_is_told_and_the_checkpoint_before_stays(tmp_path):
    """No file may grow beyond 300 kB: the checkpoint of this network has more."""
    args = [*LONG, "dir=run", "network.channels=32", "evaluator.every=0"]
    code, out = finished(*args, cwd=tmp_path, limit=300_000)
    assert code == 5, out
    assert out.count("writing a checkpoint failed at step") == 2
    assert "failed 3 times in a row" in out and "free space" in out
    assert list((tmp_path / "run" / "checkpoints").iterdir()) == []


LIMIT = 2_000_000  # bytes a file may have: more than a checkpoint of this network


def filled(folder, name):
    """The file up to the limit: the lines of metrics.jsonl stay lines."""
    if name == "log":
        os.truncate(folder / name, LIMIT)
        return
    with (folder / name).open("a") as file:
        while file.tell() < LIMIT - 100:
            file.write('{"step": 1, "pad": "' + "x" * min(10_000, LIMIT - 60 - file.tell()) + '"}\n')


@pytest.fixture(scope="module")
def short(tmp_path_factory):
    """A run that was stopped at step 10 of 80."""
    cwd = tmp_path_factory.mktemp("short")
    code, out = finished(
        *LONG, "dir=run", "evaluator.every=0", "trainer.max_steps=10", "lr.steps=80", cwd=cwd
    )
    assert code == 0, out
    return cwd / "run"


@pytest.mark.parametrize("asked", [pytest.param(False, marks=pytest.mark.slow), True])
def test_a_disk_that_fills_under_the_metrics_ends_the_run_with_5(short, tmp_path, asked):
    """Also where it was asked to stop at the same time; the same command goes on when there is room."""
    shutil.copytree(short, tmp_path / "run")
    filled(tmp_path / "run", "metrics.jsonl")
    args = [*LONG, "dir=run", "evaluator.every=0"]
    process = Started(*args, cwd=tmp_path, limit=LIMIT)
    while asked and process.poll() is None and "telling a logger failed" not in process.said():
        time.sleep(0.01)
    if asked:
        process.send_signal(signal.SIGTERM)
    said, _ = process.communicate()
    assert process.returncode == (75 if asked else 5), said
    assert "Traceback" not in said and "Logging error" not in said
    assert asked or (said.count("error: ") == 1 and "a line cannot be written: File too large" in said)
    assert json.loads((tmp_path / "run" / "run.json").read_text())["state"] != "running"
    code, out = finished(*args, cwd=tmp_path)
    assert code == 0 and "going on from step" in out, out
    assert [step for step, _ in told(tmp_path / "run")][-1] == 80


def test_a_log_that_cannot_be_written_costs_its_lines(short, tmp_path):
    shutil.copytree(short, tmp_path / "run")
    filled(tmp_path / "run", "log")
    args = [*LONG, "dir=run", "evaluator.every=0", "trainer.max_steps=20"]
    code, said = finished(*args, cwd=tmp_path, limit=LIMIT)
    assert code == 0 and "Traceback" not in said, said
    assert said.count("the log cannot be written: File too large") == 1
    assert json.loads((tmp_path / "run" / "run.json").read_text())["state"] == "done"


STOPPED = """
import os, pathlib, signal
from diffexp.errors import ResourceError
from diffexp.run.folder import Record
kept = Record._json

def asked(self, ended):
    if ended:
        os.kill(os.getpid(), signal.SIGTERM)
    kept(self, ended)

Record._json = asked
with Record(pathlib.Path("run"), {}, []):
    raise ResourceError("the disk is full")
"""


def test_a_signal_while_a_run_ends_does_not_cost_its_last_words(tmp_path):
    done = subprocess.run([sys.executable, "-c", STOPPED], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1 and "ResourceError: the disk is full" in done.stderr
    assert json.loads((tmp_path / "run" / "run.json").read_text())["state"].startswith("ResourceError")


@pytest.mark.parametrize(
    ("typed", "text"),
    [
        (["dir=/proc/run"], "cannot write to /proc"),
        (["dir=file/run"], "cannot write to "),
        (["network.channels=16384", "dir=run"], "do not fit the"),
    ],
)
def test_room_is_looked_for_before_the_work(tmp_path, typed, text):
    (tmp_path / "file").write_text("")
    code, out = finished(*QUICK, *typed, cwd=tmp_path)
    assert code == 5 and text in out and "Traceback" not in out, out
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_signal_does_not_wait_for_a_long_evaluation(tmp_path):
    args = [
        *LONG,
        "dir=run",
        "evaluator.every=1",
        "metrics.n=20000",
        "sampler.steps=20",
        "evaluator.batch_size=20",
    ]
    process = Started(*args, cwd=tmp_path)
    wait_for(tmp_path / "run" / "metrics.jsonl", process)
    time.sleep(3)
    process.send_signal(signal.SIGTERM)
    begun = time.time()
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 75 and "is left out" in out, out
    assert time.time() - begun < 20  # the whole takes minutes


def test_only_finite_weights_are_exported_and_they_sample_the_same(tmp_path):
    from diffexp.model.restore import restore

    cfg, choices = composed([*QUICK, f"dir={tmp_path / 'run'}"])
    run_job(cfg, tmp_path / "run", [*QUICK], choices)
    typed = ["task=export", f"task.ckpt={tmp_path / 'run'}", f"dir={tmp_path / 'out'}"]
    cfg, choices = composed(typed)
    results = run_job(cfg, tmp_path / "out", typed, choices)
    assert results["bytes"] == (tmp_path / "out" / "model.safetensors").stat().st_size
    ours, theirs = restore(tmp_path / "run"), restore(tmp_path / "out")
    assert theirs.step == 6 and theirs.class_names == ours.class_names
    for a, b in zip(ours.model.denoiser.parameters(), theirs.model.denoiser.parameters(), strict=True):
        assert torch.equal(a, b)


def test_folders_of_any_name(tmp_path):
    """Spaces, letters beyond ASCII, a link, a relative path: trained, gone on with, sampled."""
    there = tmp_path / "a b" / "ü=ñ"
    there.mkdir(parents=True)
    (tmp_path / "link").symlink_to(there)
    code, out = finished(*QUICK, "dir='link/run 1'", cwd=tmp_path)
    assert code == 0, out
    code, out = finished("resume=a b/ü=ñ/run 1", "trainer.max_steps=8", cwd=tmp_path)
    assert code == 0 and "going on from step 6" in out, out
    code, out = finished("task=sample", "task.ckpt='a b/ü=ñ/run 1'", "dir=s", "task.n=2", cwd=tmp_path)
    assert code == 0 and (tmp_path / "s" / "samples" / "grid.png").exists(), out


@pytest.mark.slow
def test_a_tracker_out_of_reach_costs_seconds(tmp_path, monkeypatch):
    """A key, and a server that does not answer: offline, and it says so."""
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    begun = time.time()
    args = [a for a in QUICK if a != "logger=none"]
    code, out = finished(*args, "logger.mode=online", "dir=run", cwd=tmp_path)
    assert code == 0 and "W&B is out of reach" in out and "wandb sync" in out, out
    assert time.time() - begun < 60
    assert list((tmp_path / "run" / "wandb").glob("offline-run-*"))


@pytest.mark.slow
def test_a_thousand_evaluations_leave_no_memory_and_no_file_behind(tmp_path):
    """Resident memory after 200 of them and after 1,000, and open files."""
    code = """
import os, sys
sys.path[:0] = [PATH]
from commands import composed, QUICK
import torch
torch.set_num_threads(1)
from diffexp.tasks.run import run_job
import diffexp.training.evaluate_samples as evaluate

kept, told = evaluate.EvaluateSamples._evaluate, []

def watched(self, trainer, module):
    kept(self, trainer, module)
    with open("/proc/self/statm") as file:
        told.append((int(file.read().split()[1]) * 4096, len(os.listdir("/proc/self/fd"))))

evaluate.EvaluateSamples._evaluate = watched
typed = [*QUICK, "evaluator.every=1", "trainer.max_steps=1000", "loader.batch_size=1437", "dir=run",
         "trainer.log_every_n_steps=1", "callbacks.checkpoint.every=100"]
cfg, choices = composed(typed)
run_job(cfg, __import__("pathlib").Path("run"), typed, choices)
print("told", len(told), *told[199], *told[-1])
""".replace("PATH", repr(str(Path(__file__).parents[1])))
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=1500
    )
    line = next(line for line in done.stdout.splitlines() if line.startswith("told "))
    count, *numbers = map(int, line.split()[1:])
    memory, files, memory_after, files_after = numbers
    assert count == 1000
    assert memory_after < 1.02 * memory, (memory, memory_after)
    assert files_after <= files


def test_a_device_without_memory_is_told_with_the_batch(tmp_path):
    """As CUDA tells it, here from a network of a plug-in."""
    (tmp_path / "greedy.py").write_text(
        "import torch\nfrom diffexp.networks import UNet\n"
        "class Greedy(UNet):\n    def forward(self, *args):\n"
        "        if torch.is_grad_enabled():\n"
        "            raise torch.OutOfMemoryError('CUDA out of memory. Tried to allocate 9 GiB')\n"
        "        return super().forward(*args)\n"
    )
    typed = [*QUICK, "plugins=[greedy]", "network._target_=greedy.Greedy", "dir=run"]
    code, out = finished(*typed, cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)})
    assert code == 5 and "Traceback" not in out, out
    assert "out of memory, with 64 images of 1x8x8" in out and "Tried to allocate 9 GiB" in out
    assert "loader.batch_size" in out and "precision=bf16" in out
