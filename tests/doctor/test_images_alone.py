"""A folder of images as the patient: real digits are well, and what is done to them is named."""

import json

import pytest
import torch
from commands import composed
from patients import DATA, pictured
from PIL import Image

from diffexp.doctor import examine
from diffexp.doctor.examinations.collapse import vendi
from diffexp.errors import ConfigError, DataError
from diffexp.tasks.run import run_job

TEST = DATA.split("test").batch(torch.arange(180))
TRAIN = DATA.split("train").batch(torch.arange(1437))
OF_IMAGES = {"collapse", "drift", "judging", "looks", "memory"}


def blurred(images):
    return torch.nn.functional.avg_pool2d(images.float(), 3, 1, 1).byte()


def noisy(images):
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    return (images + 120 * noise).clamp(0, 255).byte()


def burnt(images):
    return (images > 100).byte() * 255


def one_class(images):
    return TRAIN.image[TRAIN.label == 3][torch.arange(180) % 150 % int((TRAIN.label == 3).sum())]


@pytest.mark.parametrize(
    ("change", "labels", "cause"),
    [
        (lambda images: images, TEST.label, None),
        (blurred, None, "blur"),
        (noisy, None, "noise or over-sharpening"),
        (burnt, None, "too much guidance"),
        (one_class, None, "samples that have collapsed"),
        (lambda images: TRAIN.image[:180], None, "a training set learnt by heart"),
        (lambda images: 255 - images, None, "images that are not like the data"),
        (lambda images: images, TEST.label.roll(1), "a class or text that is not followed"),
    ],
)
def test_what_is_done_to_images_is_named_first_or_second(change, labels, cause):
    found = examine(pictured(change(TEST.image), labels))
    named = [f.cause.partition(":")[0] for f in found.causes]
    assert (named == []) if cause is None else (cause in named[:2])
    assert found.failed == {} and {"steps", "learning", "guiding"} <= set(found.of_runs)
    assert not OF_IMAGES & set(found.of_runs)


def test_the_vendi_score_counts_different_images():
    """Of k images, each as often, that are far apart, it is k (Friedman and Dieng 2023)."""
    points = 100 * torch.eye(5, dtype=torch.float64).repeat(8, 1)
    assert vendi(points, 1.0) == pytest.approx(5, rel=1e-6)
    assert vendi(points[:1].repeat(9, 1), 1.0) == pytest.approx(1, rel=1e-6)


def do(folder, *typed):
    line = ["logger=none", f"dir={folder}", "task=doctor", *typed]
    cfg, choices = composed(line)
    return run_job(cfg, folder, line, choices)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Images as task=sample writes them, of classes whose names are no digits."""
    path = tmp_path_factory.mktemp("images") / "made"
    for i in range(60):
        name = path / ("<b>odd</b>", "even")[i % 2] / f"{i:05d}.png"
        name.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(TEST.image[i, 0].numpy()).save(name)
    return path


def test_a_folder_is_examined_from_the_command_line(folder, tmp_path, capsys):
    do(tmp_path / "out", f"task.ckpt={folder}", "data=digits", "task.n=50")
    told = json.loads((tmp_path / "out" / "run.json").read_text())["results"]
    assert told["causes"] == [] and told["failed"] == {} and "steps" in told["of_runs"]
    assert told["cards"]["fid_digits64"]["n"] == 50
    said = capsys.readouterr()
    assert "a clean bill" in said.out and "a run is needed to examine averaging, captions" in said.out
    assert "examined without classes" in said.err
    page = (tmp_path / "out" / "doctor.html").read_text()
    assert "50 of 60" in page and "Needs the run" in page and "<script" not in page and "<b>odd" not in page


@pytest.mark.parametrize(
    ("typed", "says", "where"),
    [
        (["sampler.steps=3"], "sampler.steps is of a run", "sampler.steps"),
        (["task.ema=false"], "task.ema is of a run", "task.ema"),
        (["task.only=[steps,guiding]"], "steps, guiding examine a run", "task.only"),
    ],
)
def test_what_is_of_a_run_cannot_be_typed_of_images(folder, tmp_path, typed, says, where):
    with pytest.raises(ConfigError, match=says) as told:
        do(tmp_path / "out", f"task.ckpt={folder}", *typed)
    assert told.value.where == where and not (tmp_path / "out").exists()


def test_too_few_images_and_a_run_without_a_checkpoint_are_told(tmp_path):
    (tmp_path / "few").mkdir()
    for i in range(3):
        Image.new("L", (8, 8), 9 * i).save(tmp_path / "few" / f"{i}.png")
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match=r"there is no image(.|\n)*type task.ckpt=FOLDER"):
        do(tmp_path / "out", f"task.ckpt={tmp_path / 'none'}")
    with pytest.raises(DataError, match="3 images are too few to say anything"):
        do(tmp_path / "out", f"task.ckpt={tmp_path / 'few'}")
    (tmp_path / "few" / "config.yaml").write_text("task: {}")
    with pytest.raises(DataError, match="no checkpoints"):
        do(tmp_path / "out", f"task.ckpt={tmp_path / 'few'}")
