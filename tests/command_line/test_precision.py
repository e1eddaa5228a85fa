"""precision=auto, and the warning where bfloat16 is slow."""

import platform
from pathlib import Path

import pytest
import torch

from diffexp import notice
from diffexp.errors import ConfigError
from diffexp.run import precision


def test_auto_is_the_fastest_wherever_it_stands(capsys):
    config = {
        "precision": "auto",
        "model": {"precision": "auto", "seed": 1},
        "trainer": {"accelerator": "cpu"},
    }
    fast = precision.fastest(on_gpu=False)
    notice._said.clear()
    assert precision.settled(config) == config | {"precision": fast, "model": {"precision": fast, "seed": 1}}
    assert f"chosen: precision={fast}, the fastest on this CPU\n" in capsys.readouterr().out
    assert config["precision"] == "auto"


def test_a_run_that_goes_on_keeps_the_precision_that_was_chosen(capsys):
    settled = precision.settled({"precision": "auto", "model": {"precision": "auto"}}, before="bf16")
    assert settled == {"precision": "bf16", "model": {"precision": "bf16"}}
    settled = precision.settled({"precision": "auto", "autoencoder": {"precision": "auto"}}, before="fp16")
    assert settled["autoencoder"] == {"precision": "fp32"}  # whose optimizers know no scaler
    assert "chosen: precision=bf16, as before" in capsys.readouterr().out


def test_a_typed_precision_stays(capsys):
    config = {"precision": "fp32", "model": {"precision": "fp32"}}
    assert precision.settled(config) == config and capsys.readouterr().out == ""


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the flags are those of x86")
def test_a_cpu_computes_bfloat16_where_its_flags_say_so():
    words = Path("/proc/cpuinfo").read_text().split()
    assert precision.has_bfloat16() == ("avx512_bf16" in words or "amx_tile" in words)


def test_slow_bfloat16_is_warned_of_with_its_cost(monkeypatch, capsys):
    monkeypatch.setattr(precision, "has_bfloat16", lambda: False)
    precision.settled({"precision": "bf16"})
    said = capsys.readouterr().err
    assert "this CPU has no instructions for bfloat16 (a convolution takes " in said
    times = float(said.partition("takes ")[2].split()[0])
    assert 0 < times < 1000 and "type precision=fp32, or auto" in said
    assert precision.fastest(on_gpu=False) == "fp32"


def test_the_cost_is_that_of_two_convolutions():
    assert 0.01 < precision.slowdown(rounds=1) < 1000


@pytest.mark.parametrize(
    "typed", [["task=sample", "network=ideal"], ["task=evaluate"], ["task=export"], ["task=train"]]
)
def test_a_precision_that_there_is_not_is_refused(job, run, typed):
    ckpt = [f"task.ckpt={run}"] if typed in (["task=evaluate"], ["task=export"]) else []
    with pytest.raises(ConfigError, match=r"precision=foo is not fp32 or bf16 or fp16"):
        job(*typed, *ckpt, "precision=foo", "logger=none")


@pytest.mark.gpu
def test_a_gpu_has_a_fastest_precision():
    native = torch.cuda.get_device_capability() >= (8, 0)
    assert precision.fastest(on_gpu=True) == ("bf16" if native else "fp16")
