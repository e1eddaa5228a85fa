"""Checkpoints, exported folders and run folders that somebody has edited, or a disk has damaged: each is
read, or refused by an error of ours. The edits are a function of their number.
"""

import copy
import json
import math
import random

import pytest
import torch
from commands import composed
from omegaconf import OmegaConf
from safetensors.torch import save_file

from diffexp.config.untrusted import read_yaml, typed_before
from diffexp.errors import DiffexpError
from diffexp.model.checkpoint import read_checkpoint
from diffexp.run.job import Job
from diffexp.tasks.run import run_resolved

VALUES = [
    None, True, False, 0, 1, -1, 2, 3.5, -0.0, 10**6, 10**12, 10**40, -(10**12), math.nan, math.inf, 1e308,
    "", "x", "0", "null", "x" * 300, "\x00", "\ud800", "\u2028", "../..", "/etc/hostname", "~",
    "${seed}", "???", [], [1], [[]], ["a", 1], [0.5, 0.5], {}, {"a": 1}, {"_target_": "os.system"},
    {"_target_": 3}, {1: 2}, {"": ""}, {"_target_": "diffexp.samplers.DDIM"}, (1, 2), b"bytes", {1, 2}, 1j,
]  # fmt: skip


PIECES = [b"", b"\xff", b"\x00", b": ", b"- ", b"{", b"*a", b"&a ", b"!!python/object:os.x ", b"\n", b"'"]


def paths_of(node, path=()):
    """The ways to all values of nested dicts and lists."""
    parts = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in parts:
        yield (*path, key)
        yield from paths_of(value, (*path, key))


def edited(node, draw):
    """A copy with one to three changes: a value replaced, removed, added, doubled, or copied."""
    node = copy.deepcopy(node)
    for _ in range(draw.choice([1, 1, 2, 3])):
        ways = list(paths_of(node))
        if not ways:
            return node
        *way, key = draw.choice(ways)
        where = node
        for part in way:
            where = where[part]
        what = draw.randrange(6)
        if what == 0:
            del where[key]
        elif what == 1 and isinstance(where, dict):
            where[draw.choice(["x", "_target_", "_partial_", "T", "scale", "path", 7])] = draw.choice(VALUES)
        elif what == 2:
            other = node
            for part in draw.choice(ways):
                if not isinstance(other, (dict, list)) or (
                    isinstance(other, list) and part not in range(len(other))
                ):
                    break
                other = other[part] if part in other or isinstance(other, list) else other
            where[key] = copy.deepcopy(other)
        elif what == 3 and isinstance(where[key], list):
            where[key] = where[key] * draw.choice([0, 2, 50])
        elif what == 4 and isinstance(where[key], (int, float)) and not isinstance(where[key], bool):
            where[key] = draw.choice([-where[key], where[key] * 1000, where[key] / 3, str(where[key])])
        else:
            where[key] = copy.deepcopy(draw.choice(VALUES))
    return node


def answered(call, what):
    """What is wrong with how it ended, or None."""
    try:
        call()
    except DiffexpError as error:
        assert error.code in (2, 3, 4, 5) and error.what, what
    except BaseException as error:
        return f"{what}: {type(error).__name__}: {str(error)[:200]}"
    return None


def sampled(ckpt, folder, *more):
    """task=sample, of two images, in this process."""
    typed = ["task=sample", "task.n=2", "logger=none", f"task.ckpt={ckpt}", *more]
    cfg, choices = composed([*typed, f"dir={folder}"])
    config = OmegaConf.to_container(cfg, resolve=True)
    return lambda: run_resolved(config, folder, typed, choices)


def evaluated(ckpt, folder):
    """The checks of task=evaluate: sampler, metrics and data as the file has them."""
    typed = ["task=evaluate", "logger=none", f"task.ckpt={ckpt}"]
    cfg, choices = composed([*typed, f"dir={folder}"])
    job = Job(OmegaConf.to_container(cfg, resolve=True), folder, tuple(typed), choices)
    return lambda: job.build("task").check(job)


COUNT = [pytest.param(10, id="quick"), pytest.param(1000, id="thousand", marks=pytest.mark.slow)]


@pytest.mark.parametrize("count", COUNT)
def test_edited_checkpoints(checkpoint, tmp_path, monkeypatch, count):
    """What they say of themselves, and what else is in them."""
    monkeypatch.chdir(tmp_path)
    found = []
    for i in range(count):
        draw, path = random.Random(i), tmp_path / "c.ckpt"
        whole = dict(checkpoint)
        if i % 4:
            whole["diffexp"] = edited(checkpoint["diffexp"], draw)
        else:
            whole = edited({k: dict(v) if k == "trained" else v for k, v in whole.items()}, draw)
        torch.save(whole, path)
        run = sampled(path, tmp_path / f"out{i}") if i % 2 else evaluated(path, tmp_path / f"out{i}")
        found.append(answered(run, f"checkpoint {i}"))
    assert [f for f in found if f] == []


@pytest.mark.parametrize("count", COUNT)
def test_damaged_checkpoints(checkpoint, tmp_path, count):
    """Bytes flipped, cut off, doubled or zeroed, without a note beside them."""
    torch.save(checkpoint | {"optimizer_states": []}, tmp_path / "c.ckpt")
    good, found = (tmp_path / "c.ckpt").read_bytes(), []
    for i in range(count):
        draw, bad = random.Random(i), bytearray(good)
        at = (
            draw.randrange(len(bad))
            if i % 2
            else draw.choice([draw.randrange(3000), -draw.randrange(1, 3000)])
        )
        if i % 5 == 0:
            del bad[at:]
        elif i % 5 == 1:
            bad[at : at + 1] = b"\x00" * draw.randrange(1, 500)
        else:
            for _ in range(draw.choice([1, 1, 5])):
                bad[(at + draw.randrange(50)) % len(bad)] ^= 1 << draw.randrange(8)
        (tmp_path / "bad.ckpt").write_bytes(bad)
        found.append(answered(lambda: read_checkpoint(tmp_path / "bad.ckpt"), f"damage {i}"))
    assert [f for f in found if f] == []


@pytest.mark.parametrize("count", COUNT)
def test_edited_exports(checkpoint, tmp_path, monkeypatch, count):
    """config.json beside weights: of changed values, and of changed bytes."""
    monkeypatch.chdir(tmp_path)
    folder, found = tmp_path / "export", []
    folder.mkdir()
    weights = {name: value.contiguous() for name, value in checkpoint["trained"].items()}
    save_file(weights, folder / "model.safetensors")
    told = {k: v for k, v in checkpoint["diffexp"].items() if k != "meter"} | {"ema": False}
    good = (folder / "model.safetensors").read_bytes()
    for i in range(count):
        draw = random.Random(i)
        text = json.dumps(edited(json.loads(json.dumps(told)), draw), default=str, ensure_ascii=True)
        if i % 3 == 0:
            at = draw.randrange(len(text))
            text = text[:at] + draw.choice(["", "{", "[" * 10_000, "\x00", "1e999", '"'])
        (folder / "config.json").write_text(text)
        bad = bytearray(good)
        if i % 7 == 0:
            bad[draw.randrange(2000)] ^= 1 << draw.randrange(8)
        (folder / "model.safetensors").write_bytes(bad)
        found.append(answered(sampled(folder, tmp_path / f"out{i}", "task.ema=false"), f"export {i}"))
    assert [f for f in found if f] == []


@pytest.mark.parametrize("count", [150])
def test_edited_overrides(run, tmp_path, count):
    """overrides.yaml and config.yaml of a run folder, as they are read before anything is run."""
    found = []
    for i in range(count):
        draw = random.Random(i)
        for name, read in (("overrides.yaml", lambda p: typed_before(p.parent)), ("config.yaml", read_yaml)):
            text = bytearray((run / name).read_bytes())
            for _ in range(draw.choice([1, 3, 10])):
                at = draw.randrange(len(text))
                text[at : at + draw.choice([0, 1, 5])] = draw.choice(
                    [
                        b"",
                        b"\xff",
                        b"\x00",
                        b": ",
                        b"- ",
                        b"{",
                        b"*a",
                        b"&a ",
                        b"!!python/object:os.x ",
                        b"\n",
                        b"'",
                    ]
                )
            (tmp_path / name).write_bytes(text)
            found.append(answered(lambda path=tmp_path / name, r=read: r(path), f"{name} {i}"))
    assert [f for f in found if f] == []


def test_edits_are_the_same_each_time(checkpoint):
    a, b = (edited(checkpoint["diffexp"]["config"], random.Random(5)) for _ in range(2))
    assert repr(a) == repr(b) != repr(checkpoint["diffexp"]["config"])
