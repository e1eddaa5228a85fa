"""Files of a stranger: each is refused by name, and nothing in it runs."""

import io
import json
import os
import pickle
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import QUICK, composed
from forked import finished
from PIL import Image

from diffexp.config.untrusted import read_yaml, typed_before
from diffexp.data import Folder, Npz
from diffexp.errors import ConfigError, DataError
from diffexp.metrics import LPIPS, Inception
from diffexp.model.restore import restore
from diffexp.tasks.run import run_job

RUN = Path(__file__).parents[2] / "run.py"


class Evil:
    """Makes the file `mark` when it is unpickled by a loader that executes."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return (os.mkdir, (str(self.mark),))


@pytest.fixture
def mark(tmp_path):
    """What must not be there at the end."""
    path = tmp_path / "it_ran"
    yield path
    assert not path.exists()


@pytest.fixture
def ckpt(run, tmp_path):
    """Saves the checkpoint of a run with a change: ckpt(change) -> its path."""

    def save(change):
        checkpoint = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
        change(checkpoint)
        path = tmp_path / "hostile.ckpt"
        torch.save(checkpoint, path)
        return path

    return save


@pytest.mark.parametrize("place", ["hyper_parameters", "config", "ema", "optimizer_states", "whole"])
def test_pickles_in_a_checkpoint(ckpt, mark, tmp_path, place):
    def change(checkpoint):
        if place == "config":
            checkpoint["diffexp"]["config"]["name"] = Evil(mark)
        elif place == "ema":
            checkpoint["ema"][0]["denoiser.network.conv_in.weight"] = Evil(mark)
        elif place != "whole":
            checkpoint[place] = Evil(mark)

    path = ckpt(change)
    if place == "whole":
        path.write_bytes(pickle.dumps(Evil(mark)))
    with pytest.raises(DataError, match="files that hold code are refused"):
        restore(path)


@pytest.mark.parametrize("loader", ["inception", "lpips"])
def test_pickles_in_weights(mark, tmp_path, loader):
    path = tmp_path / "weights.pth"
    path.write_bytes(pickle.dumps({"a": Evil(mark)}))
    with pytest.raises(DataError, match=r"weights\.pth"):
        if loader == "inception":
            Inception(weights=str(path)).check((3, 8, 8))
        else:
            LPIPS(net="squeeze", weights=str(path))(torch.zeros(1, 1, 8, 8), torch.zeros(1, 1, 8, 8))


@pytest.mark.parametrize(
    "target",
    [
        "os.system", "subprocess.Popen", "torch.load", "torch.hub.load", "builtins.open", "builtins.eval",
        "logging.config.dictConfig", "diffexp.cli.os.system", "hydra.utils.instantiate",
        "diffexp.training.ema.torch.load",
    ],
)  # fmt: skip
def test_targets_in_a_checkpoint(ckpt, mark, target):
    def change(checkpoint):
        node = {"_target_": target, "command": f"mkdir {mark}", "args": f"mkdir {mark}"}
        checkpoint["diffexp"]["config"]["model"]["network"] = node

    with pytest.raises(ConfigError, match=r"may not be built|is no class or function"):
        restore(ckpt(change))


def test_environment_in_a_checkpoint(ckpt, monkeypatch):
    """Is text there, and is refused as what it stands for is not known."""
    monkeypatch.setenv("SECRET_WORD", "48")

    def change(checkpoint):
        checkpoint["diffexp"]["config"]["model"]["network"]["channels"] = "${oc.env:SECRET_WORD}"

    with pytest.raises(ConfigError, match=r"oc.env:SECRET_WORD\} is an interpolation"):
        restore(ckpt(change))


BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{c}: &{c} [{','.join([f'*{b}'] * 9)}]\n" for b, c in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("!!python/object/apply:os.mkdir [MARK]\n", "no plain YAML"),
        (BOMB, "by aliases of aliases"),
        ("x" * 5_000_000, "more bytes than"),
        ("[" * 20_000, "no plain YAML"),
        ("- [a, b]\n", "no list of overrides"),
        ("- hydra.run.dir=elsewhere\n", "not taken from a run folder"),
        ("- hydra/job_logging=disabled\n", "not taken from a run folder"),
        ("- logger._target_=os.system\n", "not taken from a run folder"),
        ("- name=${oc.env:HOME}\n", "not taken from a run folder"),
        ("- plugins=[antigravity]\n", "packages of its own"),
    ],
    ids=["tag", "bomb", "long", "deep", "no_text", "hydra", "logging", "target", "environment", "plugins"],
)
def test_overrides_of_a_run_folder(tmp_path, mark, text, told):
    (tmp_path / "overrides.yaml").write_text(text.replace("MARK", str(mark)))
    start = time.perf_counter()
    with pytest.raises(DataError, match=told):
        typed_before(tmp_path)
    assert time.perf_counter() - start < 10  # the bomb of Hydra takes for ever
    done = subprocess.run(
        [sys.executable, str(RUN), f"resume={tmp_path}"],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
    )
    assert done.returncode == 3 and told in done.stderr and "Traceback" not in done.stderr


def test_plain_yaml_is_read(tmp_path):
    path = tmp_path / "plain.yaml"
    path.write_text("a: &x [1, 2.5, null]\nb: *x\nc: {d: text}\n")
    assert read_yaml(path) == {"a": [1, 2.5, None], "b": [1, 2.5, None], "c": {"d": "text"}}


def png(width, height):
    """A picture of very few bytes: only its header is right."""
    import struct
    import zlib

    def part(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = part(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + part(b"IDAT", zlib.compress(b"\0" * 1000)) + part(b"IEND", b"")


def test_a_picture_that_unpacks_to_gigabytes(tmp_path):
    for i in range(3):
        Image.new("RGB", (8, 8)).save(tmp_path / f"good{i}.png")
    (tmp_path / "bomb.png").write_bytes(png(40_000, 40_000))
    with pytest.raises(DataError, match=r"bomb\.png") as told:
        Folder(str(tmp_path), 8).check()
    assert "cannot be used" in str(told.value)


def test_an_archive_that_unpacks_to_gigabytes(tmp_path):
    path, head = tmp_path / "bomb.npz", io.BytesIO()
    np.lib.format.write_array_header_1_0(
        head, {"descr": "|u1", "fortran_order": False, "shape": (1_500_000, 32, 32)}
    )
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file,
        file.open("images.npy", "w", force_zip64=True) as part,
    ):
        part.write(head.getvalue())
        for _ in range(1500):
            part.write(bytes(1_024_000))
    with pytest.raises(DataError, match=r"unpacks to 1,536[\s\S]*bomb\.npz"):
        Npz(str(path)).check()


@pytest.mark.parametrize("member", ["../../it_ran", "/it_ran"])
def test_an_archive_with_a_path_out_of_it(tmp_path, mark, member):
    """Nothing of it is unpacked to a file."""
    path = tmp_path / "sub" / "a" / "data.npz"
    path.parent.mkdir(parents=True)
    np.savez(path, images=np.zeros((30, 8, 8), np.uint8))
    with zipfile.ZipFile(path, "a") as file:
        file.writestr(member, "x")
    before = sorted(p.name for p in tmp_path.rglob("*"))
    assert len(Npz(str(path)).split("train")) > 0
    assert sorted(p.name for p in tmp_path.rglob("*")) == before and not Path("/it_ran").exists()


def test_an_archive_with_a_pickle(tmp_path, mark):
    path = tmp_path / "data.npz"
    np.savez(path, images=np.array([Evil(mark)], dtype=object))
    with pytest.raises(DataError, match=r"data\.npz"):
        Npz(str(path)).check()


def test_exported_weights_that_are_none(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(pickle.dumps({"a": 1}))
    (tmp_path / "config.json").write_text(json.dumps({"ema": True}))
    with pytest.raises(DataError, match="these weights cannot be read"):
        restore(tmp_path)


def test_a_script_in_a_name_is_text_in_the_report(run, tmp_path):
    """A class name, an override and an error with tags in them."""
    from diffexp.files import write
    from diffexp.report.html import page
    from diffexp.run.results import PLAN, append

    script = "<script>alert(1)</script><img src=x onerror=alert(2)>"
    cell = {"id": "a", "typed": [f"name={script}"], "values": {"name": script}, "folder": "jobs/a"}
    write(tmp_path / PLAN, json.dumps({
        "name": script, "command": script, "varying": {"name": [script]}, "cells": [cell],
        "layout": {"rows": "name", "columns": None, "metric": None, "published": None},
    }))  # fmt: skip
    append(tmp_path, {
        "id": "a", "state": "failed", "typed": cell["typed"], "folder": "jobs/a", "seconds": 1.0,
        "error": script, "code": 1,
    })  # fmt: skip
    text = page([tmp_path])
    assert "<script>alert" not in text and "<img src=x" not in text and "&lt;script&gt;alert(1)" in text


def test_a_run_of_names_that_would_be_paths(tmp_path):
    """Class names are text in pictures, never parts of paths."""
    np.savez(tmp_path / "d.npz", images=np.zeros((60, 8, 8), np.uint8), labels=np.arange(60) % 2)
    overrides = [
        *QUICK, "data=npz", f"data.path={tmp_path / 'd.npz'}", "data.classes=['../../x','/etc/y']",
 "metrics=none", "loader.batch_size=10", "trainer.log_every_n_steps=1", f"dir={tmp_path / 'run'}",
    ]  # fmt: skip
    cfg, choices = composed(overrides)
    run_job(cfg, tmp_path / "run", overrides, choices)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["d.npz", "run"]


def test_secrets_are_blotted_out(tmp_path, monkeypatch):
    monkeypatch.setenv("MY_TOKEN", "hush-hush")
    overrides = [*QUICK, f"dir={tmp_path / 'run'}", "+extra.api_key=hush-hush", "+extra.t_oken=fine"]
    overrides.append("+extra.password=${oc.env:MY_TOKEN}")
    cfg, choices = composed(overrides)
    run_job(cfg, tmp_path / "run", overrides, choices)
    assert cfg.extra.password == "hush-hush"
    for file in ("config.yaml", "run.json", "overrides.yaml"):
        assert "hush-hush" not in (tmp_path / "run" / file).read_text(), file


def test_secrets_of_a_sweep_are_blotted_out(tmp_path):
    """In the plan, the rows, the report and the folders of the jobs."""
    quick = ["task=evaluate", "network=gaussian", "metrics.n=20", "evaluator.pictures=20", "logger=none"]
    typed = ["-m", *quick, "+sweep.api_key=hush-hush", "sampler.steps=2,3"]
    typed += ["+sweep.url=https://bob:hush-hush@host/x", "+sweep.query='https://host?token=hush-hush'"]
    code, out = finished(*typed, cwd=tmp_path)
    assert code == 0, out
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {"plan.json", "results.jsonl", "report.html", "run.json"} <= {path.name for path in files}
    assert [path.name for path in files if b"hush-hush" in path.read_bytes()] == []
