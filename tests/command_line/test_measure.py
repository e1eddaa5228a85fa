"""task=measure: images of a folder or a .npz give the numbers that their maker gave."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import QUICK
from PIL import Image
from test_sweep import rows, sweep

from diffexp.data import Digits
from diffexp.data.digits_text import DigitsText
from diffexp.errors import ConfigError, DataError
from diffexp.sweep.cell import identity

MEASURE, SAMPLE = (["task=" + name, "logger=none"] for name in ("measure", "sample"))
WEIGHTS = Path(os.environ.get("DIFFEXP_WEIGHTS", ""), "inception2015_to_mixed6e_fp16.pth")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    from commands import composed

    from diffexp.tasks.run import run_job

    folder = tmp_path_factory.mktemp("trained") / "run"
    overrides = [*QUICK, "metrics=none", f"dir={folder}"]
    cfg, choices = composed(overrides)
    run_job(cfg, folder, overrides, choices)
    return folder


def told(folder):
    return json.loads((folder / "run.json").read_text())["results"]


def test_samples_in_files_are_measured_as_when_they_were_made(trained, job):
    more = ["metrics=digits", "metrics.n=40", "evaluator.pictures=40"]
    want = told(job("task=evaluate", "logger=none", f"task.ckpt={trained}", *more, folder="evaluated"))
    made = job(
        "task=sample", "logger=none", f"task.ckpt={trained}", "task.n=40", "task.npz=true", folder="sampled"
    )
    lines = (made / "samples" / "metadata.jsonl").read_text().splitlines()
    assert json.loads(lines[13]) == {"file_name": "00013_seed0.png", "label": "3"}
    for images in ("samples", "samples/samples.npz"):
        found = told(job(*MEASURE, f"task.images={made}/{images}", folder=images.replace("/", "_")))
        for key in ("fid_digits64", "accuracy_svm"):
            assert found[key] == pytest.approx(want[key], rel=1e-6)  # 40 images, 64 features: ill-conditioned
        card, other = (x["cards"]["fid_digits64"] for x in (found, want))
        assert card["n"] == card["images_there"] == 40
        assert {k: card[k] for k in ("sha256", "fingerprint", "n_reference", "floor")} == {
            k: other[k] for k in ("sha256", "fingerprint", "n_reference", "floor")
        }
        assert found["cards"]["accuracy_svm"]["by_class"] == want["cards"]["accuracy_svm"]["by_class"]
        with Image.open(found["picture"]) as picture:
            assert picture.height > 800  # ten rows


def test_of_many_some_are_drawn_and_the_same_again(trained, job):
    made = job(
        "task=sample", "logger=none", f"task.ckpt={trained}", "task.n=60", "task.files=false", "task.npz=true"
    )
    images = f"task.images={made}/samples/samples.npz"
    a, b = (told(job(*MEASURE, images, "metrics.n=30", folder=f)) for f in "ab")
    assert a["fid_digits64"] == b["fid_digits64"] and a["cards"]["fid_digits64"]["n"] == 30
    assert a["cards"]["fid_digits64"]["images_there"] == 60
    assert sum(1 for _ in a["cards"]["accuracy_svm"]["by_class"]) > 7  # not the first three of each class


@pytest.fixture
def digits(tmp_path):
    """The test images as a folder of class folders."""
    part = Digits().split("test")
    for i, (image, label) in enumerate(zip(part.images, part.labels.tolist(), strict=True)):
        (tmp_path / "images" / str(label)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[0].numpy()).save(tmp_path / "images" / str(label) / f"{i}.png")
    return tmp_path / "images"


def test_sub_folders_are_classes_and_real_images_are_judged_as_real(digits, job):
    found = told(job(*MEASURE, f"task.images={digits}"))
    card = found["cards"]["accuracy_svm"]
    assert found["accuracy_svm"] == pytest.approx(card["accuracy_real_test"]) and card["n"] == 180
    for other in set("0123456789") - {"3", "8"}:  # of which the numbers are not those of the folders
        shutil.rmtree(digits / other)
    some = told(job(*MEASURE, f"task.images={digits}", folder="some"))
    by_class = some["cards"]["accuracy_svm"]["by_class"]
    assert by_class == {name: card["by_class"][name] for name in "38"}
    bare = told(job(*MEASURE, f"task.images={digits}", "task.label=none", folder="bare"))
    assert "accuracy_svm" not in bare and bare["fid_digits64"] == pytest.approx(some["fid_digits64"])


def test_images_that_do_not_fit_are_refused_before_anything_is_written(digits, job, tmp_path):
    Image.new("L", (9, 8)).save(digits / "3" / "wide.png")
    with pytest.raises(DataError, match=r"is 8x9, those of digits are 8x8 \(height x width\)") as error:
        job(*MEASURE, f"task.images={digits}", folder="no")
    assert "task.resize=true" in error.value.do
    assert told(job(*MEASURE, f"task.images={digits}", "task.resize=true", folder="yes"))["accuracy_svm"]
    (digits / "3" / "wide.png").unlink()
    (digits / "3").rename(digits / "three")
    with pytest.raises(DataError, match="three is no class of digits"):
        job(*MEASURE, f"task.images={digits}", folder="no")
    with pytest.raises(DataError, match="there is no such folder"):
        job(*MEASURE, "task.images=/nowhere", folder="no")
    with pytest.raises(ConfigError, match="measures nothing"):
        job(*MEASURE, f"task.images={digits}", "metrics=none", "task.label=none", folder="no")
    np.savez(tmp_path / "x.npz", images=np.zeros((5, 9, 9), np.uint8))
    with pytest.raises(DataError, match=r"the images are \(1, 9, 9\)"):
        job(*MEASURE, f"task.images={tmp_path / 'x.npz'}", folder="no")
    np.savez(tmp_path / "y.npz", images=np.zeros((5, 8, 8), np.uint8), labels=np.full(5, 10))
    with pytest.raises(DataError, match="labels up to 10, and digits has 10 classes"):
        job(*MEASURE, f"task.images={tmp_path / 'y.npz'}", folder="no")
    assert not (tmp_path / "no").exists()


def test_samples_of_guided_diffusion_are_measured(digits, job, tmp_path):
    """np.savez(path, images, labels); channels in either place; labels as typed."""
    part = Digits().split("test")
    images, labels = part.images.permute(0, 2, 3, 1).numpy(), part.labels.numpy()
    want = told(job(*MEASURE, f"task.images={digits}"))
    np.savez(tmp_path / "a.npz", images, labels)
    np.savez(tmp_path / "b.npz", images.transpose(0, 3, 1, 2), labels)
    for name in "ab":
        found = told(job(*MEASURE, f"task.images={tmp_path / name}.npz", folder=name))
        assert found["accuracy_svm"] == want["accuracy_svm"]
        assert "equal" not in found["cards"]["fid_digits64"].get("note", "")
        assert found["fid_digits64"] == pytest.approx(want["fid_digits64"], rel=1e-6)
    bare = told(job(*MEASURE, f"task.images={tmp_path / 'a.npz'}", "task.label=none", folder="bare"))
    assert "accuracy_svm" not in bare
    np.savez(tmp_path / "c.npz", images, np.eye(10)[labels])
    with pytest.raises(DataError, match=r"`arr_1` has shape .* as one-hot labels have"):
        job(*MEASURE, f"task.images={tmp_path / 'c.npz'}", folder="no")
    np.savez(tmp_path / "d.npz", images, np.full(180, 10))
    with pytest.raises(DataError, match="labels up to 10, and digits has 10 classes"):
        job(*MEASURE, f"task.images={tmp_path / 'd.npz'}", folder="no")


def test_captions_of_an_npz_are_those_that_data_npz_reads(job, tmp_path):
    """Real images show what their own captions say, and seldom what those of others do."""
    batch = DigitsText().split("test").batch(torch.arange(40))
    images = batch.image.permute(0, 2, 3, 1).numpy()
    own, other = np.array(batch.text), np.array(batch.text[::-1])
    np.savez(tmp_path / "x.npz", images=images, captions=own, said=other)
    line = [*MEASURE, "data=digits_text", "metrics=digits_text", f"task.images={tmp_path / 'x.npz'}"]
    own, other = told(job(*line, folder="own")), told(job(*line, "task.text=said", folder="other"))
    both = [sum(r.get(k, 0) for k in ("right", "right_held_out")) for r in (own, other)]
    assert both[0] > 0.9 > 0.4 > both[1]
    assert own["cards"]["right"]["n"] == other["cards"]["right"]["n"] == 40
    assert "right" not in told(job(*line, "task.text=none", folder="none"))
    with pytest.raises(DataError, match="there is no `what` in it") as error:
        job(*line, "task.text=what", folder="no")
    assert error.value.do == "type the name of an array of captions, or task.text=none"


@pytest.mark.parametrize("kind", ["folder", "npz"])
def test_images_that_are_all_equal_are_said_to_be(job, tmp_path, capsys, kind):
    np.savez(tmp_path / "x.npz", np.full((12, 8, 8), 9, np.uint8))
    (tmp_path / "x").mkdir()
    for i in range(12):
        Image.new("L", (8, 8), 9).save(tmp_path / "x" / f"{i}.png")
    images = tmp_path / ("x" if kind == "folder" else "x.npz")
    found = told(job(*MEASURE, f"task.images={images}", "task.label=none"))
    assert f"warning: all 12 images of {images} are one and the same\n" in capsys.readouterr().err
    assert found["cards"]["fid_digits64"]["note"].endswith("all images are equal")


def test_what_a_folder_of_a_stranger_holds_is_refused_with_the_keys_of_the_task(digits, job, tmp_path):
    image = digits / "3" / "z.png"
    image.symlink_to(next((digits / "4").iterdir()).rename(tmp_path / "away.png"))
    with pytest.raises(DataError, match="this is a link out of the folder") as error:
        job(*MEASURE, f"task.images={digits}", folder="no")
    assert error.value.where == str(image) and "task.links=follow" in error.value.do
    assert told(job(*MEASURE, f"task.images={digits}", "task.links=follow"))["accuracy_svm"] > 0.9
    image.unlink()
    os.mkfifo(image)
    with pytest.raises(DataError, match="a pipe, a device or a folder"):
        job(*MEASURE, f"task.images={digits}", folder="no")
    image.unlink()
    image.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n")
    with pytest.raises(DataError, match="not an image of BMP") as error:  # of that size
        job(*MEASURE, f"task.images={digits}", folder="no")
    assert "data.broken" not in error.value.do
    image.write_bytes(b"P5 40000 40000 255 ")
    with pytest.raises(DataError, match="this image cannot be used: Image size"):
        job(*MEASURE, f"task.images={digits}", folder="no")
    image.unlink()
    with pytest.raises(DataError, match=r"no metadata\.jsonl says kind") as error:
        job(*MEASURE, f"task.images={digits}", "task.label=kind", folder="no")
    assert error.value.where == "task.label" and error.value.do.startswith("type task.label=none")
    assert not (tmp_path / "no").exists()


@pytest.mark.slow
def test_folders_are_swept_and_measured_again_when_they_change(digits, tmp_path):
    (digits.parent / "zero").mkdir()
    for i in range(12):
        Image.new("L", (8, 8), 20 * i).save(digits.parent / "zero" / f"{i}.png")
    args = ["task=measure", f"task.images={digits},{digits.parent / 'zero'}", "logger=none",
            f"hydra.sweep.dir={tmp_path / 'sweep'}"]  # fmt: skip
    code, out = sweep(*args, cwd=tmp_path)
    assert code == 0, out
    found = {row["typed"][-2]: row["results"]["fid_digits64"] for row in rows(tmp_path / "sweep")}
    assert found[f"task.images={digits}"] < 10 < 100 < found[f"task.images={digits.parent / 'zero'}"]
    Image.new("L", (8, 8), 5).save(digits.parent / "zero" / "more.png")
    code, out = sweep(*args, cwd=tmp_path)
    assert code == 0 and len(rows(tmp_path / "sweep")) == 3, out


def test_identity_is_of_the_images(digits):
    config = {"task": {"_target_": "x", "images": str(digits)}}
    before = identity(config)
    assert identity(config) == before
    (digits / "3" / "1.txt").write_text("a caption")
    assert identity(config) != before


@pytest.mark.filterwarnings("default")  # torch-fidelity's own
@pytest.mark.skipif(not WEIGHTS.is_file(), reason="needs the Inception weights")
def test_a_folder_is_as_far_from_another_as_torch_fidelity_says(tmp_path, job):
    from torch_fidelity import calculate_metrics

    draw, real = np.random.default_rng(0), []
    for name, most in (("real", 255), ("made", 120)):
        (tmp_path / name).mkdir()
        for i in range(24):
            small = Image.fromarray(draw.integers(0, most, (6, 6, 3)).astype(np.uint8))
            image = small.resize((32, 32), Image.Resampling.BICUBIC)
            image.save(tmp_path / name / f"{i:02d}.png")
            real += [np.asarray(image)] * (name == "real")
    np.savez(tmp_path / "real.npz", images=np.stack(real))
    theirs = calculate_metrics(
        input1=str(tmp_path / "made"), input2=str(tmp_path / "real"), fid=True, feature_layer_fid="768",
        feature_extractor_weights_path=str(WEIGHTS), cuda=False, verbose=False, cache=False,
        save_cpu_ram=True,
    )  # fmt: skip
    data = ["data=npz", f"data.path={tmp_path / 'real.npz'}", f"data.test_path={tmp_path / 'real.npz'}"]
    metrics = ["metrics=inception768", f"metrics.extractor.weights={WEIGHTS}"]
    found = told(job(*MEASURE, f"task.images={tmp_path / 'made'}", *data, *metrics))
    want = theirs["frechet_inception_distance"]
    assert found["fid_inception768"] == pytest.approx(want, rel=1e-4) and want > 0.1
