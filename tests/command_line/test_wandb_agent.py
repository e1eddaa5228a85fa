"""A run that an agent of a W&B sweep begins, as W&B's own agent types it; what is kept as artifacts, and what
of; alerts. All offline, and read back from W&B's files.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from commands import CONF, QUICK, composed
from forked import forked
from wandb_file import read, records

from diffexp.files import digest
from diffexp.sweep.cell import Cell
from diffexp.sweep.worker import perform

SWEEP = yaml.safe_load((CONF.parent / "docs" / "wandb_sweep.yaml").read_text())
AGENT = """
import json, sys
from wandb.wandb_agent import Agent

command, values = json.loads(sys.argv[1])
agent = Agent(None, None, sweep_id="sweep123")
agent._sweep_command = command
agent._command_run({"run_id": "run45678", "program": "run.py", "args": values})
sys.exit(agent._run_processes["run45678"].wait())
"""


def drawn():
    """A value of each parameter of the sweep, as its server would give it."""
    return {k: p["values"][0] if "values" in p else p["min"] for k, p in SWEEP["parameters"].items()}


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """(working directory, folder of the run)"""
    cwd = tmp_path_factory.mktemp("agent")
    quick = dict(text.split("=") for text in QUICK if not text.startswith(("logger", "evaluator.scales")))
    values = drawn() | quick | {"logger.artifacts": True}
    command = [{"run.py": str(CONF.parent / "run.py")}.get(text, text) for text in SWEEP["command"]]
    command = [text.replace("=online", "=offline") for text in command] + ["+sweep.api_key=hush-hush"]
    env = {k: v for k, v in os.environ.items() if not k.startswith("WANDB")}
    env |= {"WANDB_SWEEP_ID": "sweep123", "WANDB_PROJECT": "theirs", "XDG_DATA_HOME": str(cwd / "home")}
    env["PATH"] = f"{Path(sys.executable).parent}:{env['PATH']}"
    given = json.dumps([command, {k: {"value": v} for k, v in values.items()}])
    done = subprocess.run(
        [sys.executable, "-c", AGENT, given], cwd=cwd, env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return cwd, cwd / "runs" / "wandb_sweep" / "run45678"


def artifacts(folder):
    return read(folder)["artifacts"]


def test_what_an_agent_types_composes(monkeypatch):
    from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

    monkeypatch.setenv("WANDB_RUN_ID", "run45678")
    command, values = create_sweep_command(list(SWEEP["command"])), drawn()
    made = {"env": ["/usr/bin/env"]} | create_sweep_command_args(
        {"args": {k: {"value": v} for k, v in values.items()}}
    )
    typed = [w for text in command for w in (made[text[2:-1]] if text.startswith("${") else [text])]
    assert typed[:3] == ["/usr/bin/env", "python", "run.py"]
    config, choices = composed(typed[3:])
    assert config.dir == "runs/wandb_sweep/run45678" and config.logger.mode == "online"
    assert config.optimizer.lr == 1e-4 and config.network.channels == 32 and choices["schedule"] == "linear"


def test_its_run_is_the_one_that_the_sweep_waits_for(swept):
    _, folder = swept
    run = read(folder)
    of = run["run"]
    assert (of.run_id, of.sweep_id, of.project) == ("run45678", "sweep123", "theirs")
    assert of.run_group == "sweep-sweep123" and run["exit"] == 0
    assert (folder / "wandb" / "id").read_text() == "run45678"
    results = json.loads((folder / "run.json").read_text())["results"]
    assert run["history"][SWEEP["metric"]["name"]] == [pytest.approx(results["fid_digits64"])]
    assert run["config"]["optimizer.lr"] == 1e-4 and run["config"]["optimizer"]["lr"] == 1e-4


def test_checkpoints_are_artifacts_without_secrets(swept):
    cwd, folder = swept
    *_, last = artifacts(folder)
    sha256 = digest(folder / "checkpoints" / "last.ckpt")
    assert (last.type, last.name) == ("model", "model-run45678")
    assert set(last.aliases) == {"latest", "last", f"sha256-{sha256[:16]}"}
    (file,) = last.manifest.contents
    kept = Path(file.local_path)
    assert file.path == "last.ckpt" and digest(kept) == sha256 and folder.resolve() in kept.parents
    assert kept.samefile(folder / "checkpoints" / "last.ckpt")  # it takes no room
    assert json.loads(last.metadata)["step"] == 6
    there = [path for path in folder.rglob("*") if path.is_file()]
    assert len(there) > 8 and [p for p in there if b"hush-hush" in p.read_bytes()] == []
    assert not (cwd / "home").exists()  # nor in the person's home


def test_what_is_made_of_a_checkpoint_says_so(swept):
    cwd, folder = swept
    kept = ["logger.artifacts=true"]
    code, said = forked(["task=export", f"task.ckpt={folder}", *kept, "dir=export"], cwd, cwd / "said")
    assert code == 0, said
    sha256 = digest(folder / "checkpoints" / "last.ckpt")
    name = f"model-run45678:sha256-{sha256[:16]}"
    assert read(cwd / "export")["config"]["source"] == {
        "file": "last.ckpt", "sha256": sha256, "artifact": name,
    }  # fmt: skip
    (export,) = artifacts(cwd / "export")
    assert {f.path for f in export.manifest.contents} == {"model.safetensors", "config.json"}
    typed = ["task=sample", "task.n=2", "task.ckpt=export", *kept, "dir=sample"]
    code, said = forked(typed, cwd, cwd / "said")
    assert code == 0, said
    source, (samples,) = read(cwd / "sample")["config"]["source"], artifacts(cwd / "sample")
    of, alias = source["artifact"].split(":")
    assert of == export.name and alias in export.aliases and source["file"] == "model.safetensors"
    files = {"00000_seed0.png", "00001_seed0.png", "grid.png", "metadata.jsonl"}
    assert samples.type == "dataset" and {f.path for f in samples.manifest.contents} == files


def test_without_artifacts_an_export_is_no_run(swept):
    cwd, folder = swept
    code, said = forked(["task=export", f"task.ckpt={folder}", "dir=plain"], cwd, cwd / "said")
    assert code == 0 and not (cwd / "plain" / "wandb").exists(), said


def test_the_jobs_of_our_sweep_are_not_the_run_of_an_agent(tmp_path, monkeypatch):
    """Which has begun the sweep: they would all be one run."""
    monkeypatch.setenv("WANDB_SWEEP_ID", "sweep123")
    monkeypatch.setenv("WANDB_RUN_ID", "run45678")
    cell = Cell("a" * 12, (), {"task": {}}, {}, tmp_path / "jobs" / "a")
    assert perform(tmp_path, cell, "run.py").kind == "failed"
    assert "WANDB_SWEEP_ID" not in os.environ and "WANDB_RUN_ID" not in os.environ


ALERTS = """
import pathlib, sys
from diffexp.errors import DivergedError, Interrupted
from diffexp.report.tracking import Tracking
from diffexp.training import Wandb

for name, error in (("diverged", DivergedError("bad", "step 3")), ("stopped", Interrupted("saved"))):
    folder = pathlib.Path(sys.argv[1]) / name
    folder.mkdir()
    tracking = Tracking(Wandb(), folder, "digits", "train", [], {})
    tracking.open()
    tracking.alert(ValueError("of no interest"))
    tracking.alert(error)
    tracking.close(failed=name == "diverged")
"""


def test_alerts_and_preemption_are_recorded(tmp_path):
    env = {k: v for k, v in os.environ.items() if not k.startswith("WANDB")}
    subprocess.run([sys.executable, "-c", ALERTS, str(tmp_path)], check=True, env=env, capture_output=True)
    wanted = (("diverged", "ERROR", "bad\n  at: step 3", 1), ("stopped", "WARN", "saved", 75))
    for name, level, text, code in wanted:
        (file,) = (tmp_path / name).glob("wandb/offline-run-*/*.wandb")
        kinds = [(record.WhichOneof("record_type"), record) for record in records(file)]
        (alert,) = [record.alert for kind, record in kinds if kind == "alert"]
        assert (alert.title, alert.level, alert.text) == (f"digits: {name}", level, text)
        assert ("preempting" in [kind for kind, _ in kinds]) == (name == "stopped")
        assert [record.exit.exit_code for kind, record in kinds if kind == "exit"] == [code]
