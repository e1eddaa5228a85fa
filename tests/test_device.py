"""benchmarks/device.py in its short form: all that runs on a GPU one day, but for the CUDA graphs."""

import argparse
import json
import re
import runpy
import subprocess
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from forked import PROCESSES
from PIL import Image

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
sys.path.append(str(BENCHMARKS))
import device  # noqa: E402
from on_device import budget, card, form, images, recipe, training  # noqa: E402

from diffexp.errors import DataError  # noqa: E402

HEAVY = {"lightning", "hydra", "omegaconf", "wandb", "torchmetrics", "torch_fidelity", "diffusers"}


def run(words, said):
    sys.path.insert(0, str(BENCHMARKS))  # as for a script
    sys.argv = ["device.py", *words]
    with said.open("w") as file, redirect_stderr(file), redirect_stdout(file):
        runpy.run_path(str(BENCHMARKS / "device.py"), run_name="__main__")


@pytest.fixture(scope="module")
def short(tmp_path_factory):
    """(results, page) of the whole of it."""
    folder = tmp_path_factory.mktemp("device")
    said = folder / "said.txt"
    process = PROCESSES.Process(target=run, args=(["--short", "--out", str(folder)], said))
    process.start()
    process.join(120)
    code = process.exitcode
    process.kill()
    assert code == 0, said.read_text()
    page = (folder / "results.md").read_text()
    assert said.read_text().endswith(f"\n{page}\n") and (folder / "samples.png").stat().st_size > 1000
    return json.loads((folder / "results.json").read_text()), page


@pytest.mark.slow
def test_all_of_it_is_measured(short):
    results, _ = short
    parts = {"card", "training", "overhead", "sampling", "quality"}
    assert set(results) == {*parts, "notes", "failed", "minutes"}
    assert results["failed"] == results["notes"] == []
    names = {part: [row["name"] for row in results[part]] for part in ("training", "overhead", "sampling")}
    assert names == {
        "training": ["ours", "diffusers", "diffusers channels_last", "ours compiled", "diffusers compiled"],
        "overhead": ["ours", "diffusers"],
        "sampling": [
            "ours", "diffusers", "diffusers, bfloat16 weights", "ours compiled",
            "diffusers compiled, bfloat16 weights",
        ],
    }  # fmt: skip
    shown = results["quality"]
    assert shown["metric"] == "fid_random16" and shown["value"] > 0 and shown["card"]["n"] == shown["n"]
    assert shown["training"]["images"] == 16 * shown["training"]["steps"] > 0
    assert 0 <= shown["training"]["final_lr"] < 6e-4 / 100


@pytest.mark.slow
def test_ratios_are_quotients(short):
    results, _ = short
    for part, key in (("training", "img_per_s"), ("sampling", "img_per_s"), ("overhead", "us")):
        (base,) = (row[key] for row in results[part] if row["name"] == "diffusers")
        for row in results[part]:
            quotient = base / row[key] if part == "overhead" else row[key] / base
            assert row["ratio"] == pytest.approx(quotient, rel=1e-12)
    for row in results["sampling"]:
        off = row["difference"]
        assert off is None if row["name"].startswith("diffusers") else 0 <= off < 2, row
    flops = results["card"]["flops_training"]
    for row in results["training"]:
        assert row["tflops"] == pytest.approx(row["img_per_s"] * flops / 1e12, rel=1e-12)
        assert row["share_of_peak"] is None is row["memory_gb"]  # a CPU has neither
    trained = results["quality"]["training"]
    assert trained["img_per_s"] == pytest.approx(trained["images"] / trained["seconds"], rel=1e-12)


@pytest.mark.slow
def test_the_page_has_a_row_for_each_measurement(short):
    results, page = short
    rows = [line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith("| ")]
    for part in ("training", "sampling", "overhead"):
        for row in results[part]:
            assert [cells for cells in rows if cells[:2] == [row["name"], str(row["batch"])]]
    assert {f"{key} | {value}" for key, value in results["card"].items() if isinstance(value, str)} <= {
        " | ".join(cells) for cells in rows
    }
    assert re.search(r"\| fid_random16 \| [\d.]+ \|", page)


def test_the_share_is_of_the_peak(monkeypatch):
    ours = {"ours": training.contenders(form.SHORT.case, "eager")["ours"]}
    monkeypatch.setattr(training, "contenders", lambda case, backend: ours)
    (rows,) = training.training(replace(form.SHORT, rounds=1), "cpu", budget.Budget(1), 1.0, 10**9, 2.0)
    assert [row["share_of_peak"] for row in rows] == [pytest.approx(rows[0]["img_per_s"] * 1e9 / 2e12)]
    assert rows[0]["ratio"] is None


def test_operations_of_a_convolution():
    conv = torch.nn.Conv2d(3, 8, 3, padding=1)
    forward = 2 * 8 * 3 * 9 * 16 * 16  # two for each weight at each place
    counted = card.flops_of(OfTime(conv), (3, 16, 16))
    assert counted == {"forward": forward, "training": 2 * forward}  # images need no gradient
    whole = card.flops_of(form.FULL.case.ours(), (3, 32, 32))
    assert whole["forward"] / 1e9 == pytest.approx(12.44, abs=0.01)


class OfTime(torch.nn.Module):
    def __init__(self, conv):
        super().__init__()
        self.conv = conv

    def forward(self, x, t):
        return self.conv(x)


@pytest.mark.parametrize(
    "name, peak",
    [
        ("NVIDIA H100 80GB HBM3", 989),
        ("NVIDIA H100 PCIe", 756),
        ("NVIDIA H200", 989),
        ("NVIDIA A100-SXM4-80GB", 312),
        ("NVIDIA A10", 125),
        ("NVIDIA A1000 Laptop GPU", None),
        ("CPU", None),
    ],
)
def test_the_peak_is_that_of_the_card(name, peak):
    assert card.peak_tflops(name) == peak


def test_what_fails_or_is_late_is_noted_and_the_rest_goes_on(capsys):
    some = budget.Budget(1)
    assert some.attempt("first", lambda: 1 / 0) is None and some.failed == ["first"]
    assert some.attempt("second", lambda: 2, share=1e-9) is None
    assert some.attempt("third", lambda: 3) == 3
    assert some.notes == [
        "first: failed, ZeroDivisionError: division by zero",
        "second: left out, its share of the minutes was over",
    ]
    assert "Traceback" in capsys.readouterr().err


def test_without_diffusers_ours_stands_alone():
    some = budget.Budget(1)
    some.diffusers = False
    assert some.there({"ours": 1, "diffusers": 2, "diffusers compiled": 3}) == {"ours": 1}
    assert budget.compared([{"name": "ours", "img_per_s": 5.0}], "diffusers")[0]["ratio"] is None


def test_part_3_says_what_it_lacks(monkeypatch, tmp_path):
    args, some = argparse.Namespace(data=tmp_path, weights=None), budget.Budget(1)
    monkeypatch.setattr(recipe, "find_spec", lambda name: None if name == "torch_fidelity" else name)
    assert device.third(form.FULL, args, some) is None
    assert some.notes == ["part 3 was left out, for it lacks torch-fidelity, --weights"]
    assert recipe.lacking(random_features=True) == []


def test_parts_1_and_2_load_neither_framework_nor_peer():
    show = "import sys; sys.path.insert(0, sys.argv[1]); import device; print(*sys.modules)"
    words = [sys.executable, "-c", show, str(BENCHMARKS)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert {name.split(".")[0] for name in done.stdout.split()}.isdisjoint(HEAVY)


def test_strips_and_arrays_are_the_same_images(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (6, 4, 4, 3), dtype=np.uint8)
    for k in range(2):
        strip = Image.fromarray(pixels[3 * k : 3 * k + 3].reshape(12, 4, 3))
        strip.save(tmp_path / f"train_{k}.webp", lossless=True)
    labels = np.array([2, 1, 0, 0, 1, 2, 7], np.uint8)
    np.savez(tmp_path / "labels.npz", train=labels)
    np.savez(tmp_path / "a.npz", images=pixels, labels=labels[:6])
    strips, array = images.read(tmp_path), images.read(tmp_path / "a.npz")
    assert strips.fingerprint("train") == array.fingerprint("train")
    assert strips.shape == (3, 4, 4) and strips.classes == ("0", "1", "2")
    (tmp_path / "train_0.webp").unlink()  # the number of a strip says which labels are its own
    assert images.read(tmp_path).split("train").labels.tolist() == [0, 1, 2]
    (tmp_path / "train_1.webp").rename(tmp_path / "train_2.webp")
    with pytest.raises(DataError, match="there are no labels for it"):
        images.read(tmp_path)
    with pytest.raises(DataError, match="there are no images in a layout that is known"):
        images.read(tmp_path / "nothing")


def test_the_learning_rate_ends_with_the_time(monkeypatch):
    now = 100.0
    monkeypatch.setattr(time, "perf_counter", lambda: now)
    rate = recipe.ByClock(10.0, warmup=4)
    assert [rate(0), rate(3), rate(1000)] == [0.25, 1.0, 1.0]
    now = 105.0
    assert rate(1000) == pytest.approx(0.5)
    now = 111.0
    assert rate(1001) == 0


def test_fewer_images_where_time_is_short():
    from on_device.quality import images_for_fid

    cost = (0.01, 0.001)  # 0.012 s for each image, and 5 s for the 5,000 real ones
    assert images_for_fid(10_000, 1_000, cost, 5_000, 400) == 10_000  # 125 s of 140
    assert images_for_fid(10_000, 1_000, cost, 5_000, 300) == 5_000  # 65 s of 105
    assert images_for_fid(10_000, 1_000, cost, 5_000, 1) == 1_250
