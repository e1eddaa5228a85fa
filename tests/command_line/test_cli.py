"""What one mistypes: one clear line with the remedy, the exit code, and no run folder."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from forked import forked

RUN = Path(__file__).parents[2] / "run.py"


def run(*args, cwd, env=None):
    return subprocess.run(
        [sys.executable, str(RUN), *args],
        cwd=cwd,
        env=os.environ | {"HYDRA_FULL_ERROR": "0"} | (env or {}),
        capture_output=True,
        text=True,
        timeout=120,
    )


LIGHT = [  # answered without torch
    (["sampler=dddim"], 2, ["there is no sampler=dddim", "type sampler=ddim"]),
    (["sampler=_grid"], 2, ["there is no sampler=_grid; there are adams, adams_corrected, ddim,"]),
    (["network=_unet"], 2, ["there is no network=_unet; there are gaussian, ideal, mixture, unet_adm64,"]),
    (["sampler.eat=0"], 2, ["there is no sampler.eat", "type sampler.eta=..."]),
    (["samplr=ddim"], 2, ["there is no samplr", "type sampler=..."]),
    (["samplr.eta=0"], 2, ["there is no samplr.eta", "type sampler.eta=..."]),
    (["sampler=ddim,ddpm"], 2, ["several values", "-m sampler=ddim,ddpm"]),
    (["sampler.steps"], 2, ["cannot read 'sampler.steps'", "type key=value"]),
    (["sampler.eta=[1"], 2, ["quote the value"]),
    (["task=sample"], 2, ["task.ckpt must be set", "type task.ckpt=..."]),
    (["data=folder"], 2, ["data.path must be set"]),
    (["+trianer.x=2"], 2, ["there is no trianer: nothing reads it", "type trainer"]),
]
HEAVY = [
    (["sampler.steps=abc"], 2, ["sampler.steps=abc is not a whole number"]),
    (["sampler.steps=0"], 2, ["sampler.steps"]),
    (["sampler.eta=-3"], 2, ["eta=-3", "sampler.eta"]),
    (["sampler.steps=2000"], 2, ["sampler.steps=2000 exceeds the 1000-step chain"]),
    (["+sampler.eat=0"], 2, ["sampler.eat", "type sampler.eta"]),
    (["sampler.spacing=lading"], 2, ["sampler.spacing=lading", "leading"]),
    (["prediction=eps", "snr.zero_terminal=true"], 2, ["zero terminal SNR", "use prediction=v"]),
    (["conditioning=none", "guidance.scale=2"], 2, ["guidance"]),
    (["network.groups=3"], 2, ["network.groups"]),
    (["metrics=mnist"], 2, ["metrics="]),
    (["trainer.max_stesp=3"], 2, ["max_steps"]),
    (["+trainer.max_stesp=3"], 2, ["max_steps"]),
    (["~metrics.metrics.1"], 2, ["error: "]),
    (["metrics.metrics.x.cache=3"], 2, ["error: "]),
    (["metrics=null"], 2, ["error: ", "Config group override"]),
    (["network._target_=os.system"], 2, ["os.system may not be built", "plugins="]),
    (["network._target_=diffexp.networks.unet.torch.load"], 2, ["diffexp.networks.unet.torch.load"]),
    (["precision=fp16"], 2, ["float16 needs a CUDA device", "type precision=bf16"]),
    (["variance=learned_range"], 2, ["does not train a learned variance", "objective=hybrid"]),
    (["+terms.lpips=3"], 2, ["lpips=3 is no term", "terms=lpips"]),
    (["sampler.steps=abc", "sampler.eta=x"], 2, ["2 problems", "sampler.steps=abc", "sampler.eta=x"]),
    (["task=sample", "task.ckpt=nowhere.ckpt"], 3, ["nowhere.ckpt"]),
    (["data=folder", "data.path=empty"], 3, ["empty"]),
    (["data=folder", "data.path=absent"], 3, ["absent"]),
    (["data=folder", "data.path=broken", "metrics=none"], 3, ["broken"]),
]


def shown(args):
    return " ".join(args)


@pytest.mark.parametrize(("args", "code", "texts"), LIGHT, ids=[shown(case[0]) for case in LIGHT])
def test_typo_is_answered_without_torch(args, code, texts, tmp_path):
    told = run(*args, cwd=tmp_path, env={"PYTHONPATH": str(_no_torch(tmp_path / "none"))})
    assert told.returncode == code, told.stderr
    for text in texts:
        assert text in told.stderr
    assert "Traceback" not in told.stderr and len(told.stderr.splitlines()) <= 4
    assert not (tmp_path / "runs").exists()


def test_a_folder_of_the_persons_stays_though_it_is_empty(tmp_path):
    (tmp_path / "mine").mkdir()
    for place in ("mine/a/b", "new/a"):
        assert forked(["sampler.steps=abc", f"dir={place}"], tmp_path, tmp_path / "said.txt")[0] == 2
    code, said = forked([f"dir={'a' * 5000}"], tmp_path, tmp_path / "said.txt")
    assert code == 5 and "File name too long" in said and "Traceback" not in said
    assert (tmp_path / "mine").is_dir() and not list((tmp_path / "mine").iterdir())
    assert not (tmp_path / "new").exists()


def _no_torch(folder):
    """A torch that cannot be imported."""
    folder.mkdir()
    (folder / "torch.py").write_text("raise SystemExit('torch was imported')")
    return folder


@pytest.mark.parametrize(("args", "code", "texts"), HEAVY, ids=[shown(case[0]) for case in HEAVY])
def test_mistake_is_refused_before_work_begins(args, code, texts, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken" / "a").mkdir(parents=True)
    (tmp_path / "broken" / "a" / "x.png").write_bytes(b"\x89PNG\r\n\x1a\n not a picture")
    found, told = forked(args, tmp_path, tmp_path / "said.txt")
    assert found == code, told
    for text in texts:
        assert text in told
    assert "Traceback" not in told
    assert not (tmp_path / "runs").exists()


def test_too_little_memory_is_told(tmp_path):
    told = run(
        "task=evaluate", "network=gaussian", "evaluator.pictures=1000000000000", "logger=none", cwd=tmp_path
    )
    assert told.returncode == 5 and "Traceback" not in told.stderr
    assert "error: out of memory" in told.stderr and "lower evaluator.batch_size, metrics.n" in told.stderr


def test_nothing_is_left_where_a_job_works_in_its_folder(tmp_path):
    told = run("hydra.job.chdir=true", "dry_run=true", "logger=none", cwd=tmp_path)
    assert told.returncode == 0 and list(tmp_path.iterdir()) == []


def test_help_lists_every_group_within_seconds(tmp_path):
    start = time.perf_counter()
    told = run("--help", cwd=tmp_path, env={"PYTHONPATH": str(_no_torch(tmp_path / "none"))})
    assert told.returncode == 0 and time.perf_counter() - start < 5
    groups = {p.name for p in (RUN.parent / "conf").iterdir() if p.is_dir() and p.name != "hydra"}
    assert all(f"{g}: " in told.stdout for g in groups)
    assert "_grid" not in told.stdout and "_unet" not in told.stdout
    assert list(tmp_path.iterdir()) == [tmp_path / "none"]


def test_full_error_shows_the_traceback(tmp_path):
    told = run("sampler=dddim", cwd=tmp_path, env={"HYDRA_FULL_ERROR": "1"})
    assert told.returncode == 1 and "Traceback" in told.stderr
