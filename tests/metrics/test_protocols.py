"""FID by protocol: the same images under each, and what a choice moves; resizes, roundings, references."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import composed
from PIL import Image

from diffexp.codecs.pixels import to_bytes
from diffexp.data import Digits
from diffexp.errors import ConfigError, DataError
from diffexp.metrics import Inception
from diffexp.metrics.inception_resize import resized
from diffexp.metrics.rounding import rounded, unrounded
from diffexp.metrics.statistics_file import read_statistics
from diffexp.tasks.protocols import Protocols
from diffexp.tasks.run import run_job

QUICK = ["network=mixture", "metrics.n=40", "sampler.steps=2", "logger=none", "evaluator.pictures=10"]


def job(folder, *typed):
    typed = [*typed, *QUICK, f"dir={folder}"]
    cfg, choices = composed(typed)
    return run_job(cfg, folder, typed, choices)


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """Under references of all kinds: splits, statistics of one, and its images."""
    root = tmp_path_factory.mktemp("protocols")
    images = Digits().split("test").images.permute(0, 2, 3, 1).numpy()
    np.savez(root / "adm.npz", arr_0=images)
    statistics = job(root / "stats", "task=stats", "task.split=test")["file"]
    references = f"task.references=[train,test,{statistics},{root / 'adm.npz'}]"
    return root / "p", job(root / "p", "task=protocols", references), job(root / "e", "task=evaluate")


def test_the_default_is_what_an_evaluation_measures(measured):
    _, found, evaluated = measured
    default = found["protocols"][0]
    assert found["fid_digits64"] == default["fid"] == evaluated["fid_digits64"] and default["moved"] is None
    card = found["cards"]["fid_digits64"]
    assert card["standard_error"] == evaluated["cards"]["fid_digits64"]["standard_error"] and card["n"] == 40


def test_references_are_splits_statistics_or_images(measured):
    _, split, statistics, images, *_ = measured[1]["protocols"]
    assert split["name"] == "reference: test" and split["moved"] == split["fid"] - measured[1]["fid_digits64"]
    assert statistics["fid"] == pytest.approx(split["fid"], rel=1e-6)
    assert images["fid"] == pytest.approx(split["fid"], rel=1e-6) and images["reference"].endswith("adm.npz")


def test_choices_are_moved_one_at_a_time_and_paired(measured):
    folder, found, _ = measured
    rows = {row["name"]: row for row in found["protocols"][4:]}
    assert list(rows) == ["rounding: down", "rounding: none", "labels: random"]
    assert rows["rounding: none"]["standard_error"] < rows["labels: random"]["standard_error"] / 5
    assert all(abs(row["moved"]) > 0 and len(row["interval"]) == 2 for row in rows.values())
    assert rows["labels: random"]["reference"] == "train" and rows["rounding: down"]["labels"] == "balanced"
    text, page = ((folder / f"protocols.{end}").read_text() for end in ("md", "html"))
    assert f"| rounding: none | {rows['rounding: none']['fid']:.4g} ± " in text and "N = 40 of digits" in text
    assert "<td>labels: random</td>" in page and "default</dt><dd>reference train, rounding nearest" in page


@pytest.mark.parametrize(
    ("typed", "where", "said"),
    [
        ("metrics=none", "metrics", "there is no FID in these metrics"),
        ("task.labels=[]", "task.labels", r"labels=\[\]"),
        ("task.rounding=[up]", "task.rounding", "is not a list, each nearest or down or none"),
        (
            "task.references=[train,none.npz]",
            "none.npz",
            "there is no such file",
        ),
        ("task.references=[train,adm.pkl]", "adm.pkl", "a pickle is not read"),
    ],
)
def test_what_cannot_be_measured_is_said(tmp_path, typed, where, said):
    with pytest.raises((ConfigError, DataError), match=said) as raised:
        job(tmp_path / "p", "task=protocols", typed)
    assert raised.value.where == where and not (tmp_path / "p").exists()


def test_roundings():
    x = torch.linspace(-1.01, 1.01, 1001)[None, None, None]
    images = unrounded(x)
    assert torch.equal(rounded(images, "nearest"), to_bytes(x)) and rounded(images, "none") is images
    down = rounded(images, "down").long()
    assert ((down == to_bytes(x).long()) | (down == to_bytes(x).long() - 1)).all()
    assert (images.min(), images.max()) == (0, 255)


@pytest.mark.parametrize("size", [(32, 40), (400, 500)])
def test_the_clean_resize_is_that_of_pillow(size):
    image = torch.randint(0, 256, (1, 3, *size), generator=torch.Generator().manual_seed(0))
    planes = [Image.fromarray(plane.numpy().astype(np.float32)) for plane in image[0]]
    want = [np.asarray(plane.resize((299, 299), Image.Resampling.BICUBIC)) for plane in planes]
    assert np.abs(resized(image, "clean")[0].numpy() - np.stack(want).clip(0, 255)).max() < 0.01


def test_a_resize_that_there_is_not():
    with pytest.raises(ConfigError, match="there is no resize bilinear"):
        Inception(64, resize="bilinear")
    with pytest.raises(ConfigError, match=r"references=\[\]"):
        Protocols(references=())


def test_a_file_with_images_and_statistics_is_read_as_statistics(tmp_path):
    """As the reference batches of guided-diffusion."""
    arrays = {"mu": np.zeros(3), "sigma": np.eye(3), "arr_0": np.zeros((9, 8, 8, 3), np.uint8)}
    np.savez(tmp_path / "adm.npz", **arrays)
    read = read_statistics(str(tmp_path / "adm.npz"), 3)
    assert torch.equal(read.covariance, torch.eye(3, dtype=torch.float64))


@pytest.mark.slow
def test_a_resize_changes_nothing_but_what_the_first_layer_sees():
    folder = os.environ.get("DIFFEXP_WEIGHTS")
    file = Path(folder or "", "inception2015_to_mixed6e_fp16.pth")
    if folder is None or not file.is_file():
        pytest.skip("DIFFEXP_WEIGHTS names no folder with the Inception up to Mixed_6e")
    extractor = Inception(192, str(file))
    extractor.check((1, 28, 28))
    images = torch.randint(0, 256, (2, 1, 28, 28), generator=torch.Generator().manual_seed(0)).byte()
    clean = extractor.with_resize("clean")
    assert (clean.name, extractor.name, clean.with_resize("tensorflow").name) == (
        "inception192_clean", "inception192", "inception192",
    )  # fmt: skip
    features = extractor(images)
    assert torch.equal(extractor(images.float()), features)
    assert 0.001 < (clean(images) - features).abs().max() < 2
    assert torch.equal(extractor(images), features)  # nothing is left of the other
    large = torch.full((1, 3, 299, 299), 77, dtype=torch.uint8)  # of which both resizes leave nothing to do
    assert torch.allclose(clean(large), extractor(large), atol=1e-5)
