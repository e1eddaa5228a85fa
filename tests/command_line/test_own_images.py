"""experiment=folder and experiment=npz on whatever a person has: they train, draw, measure what can be
measured, and say in one line each what was chosen."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from alike import alike
from forked import forked
from PIL import Image

from diffexp.data import Folder
from diffexp.errors import ConfigError
from diffexp.networks import sized_unet

WEIGHTS = Path(os.environ.get("DIFFEXP_WEIGHTS", ""), "inception2015_to_mixed6e_fp16.pth")
SHORT = [
    "trainer.max_steps=2", "sampler.steps=2", "evaluator.pictures=4", "network.channels=8", "logger=none",
    "data.size=16", "trainer.val_check_interval=1",
]  # fmt: skip


def paint(path, size=(24, 18), mode="RGB", seed=0):
    """A picture whose pixels are a function of the seed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (size[1], size[0], len(mode)) if len(mode) > 1 else (size[1], size[0])
    pixels = np.random.default_rng(seed).integers(0, 255, shape, dtype=np.uint8)
    Image.fromarray(pixels, mode).save(path)


def plain(folder, count=6, **how):
    for i in range(count):
        paint(folder / f"{i}.png", seed=i, **how)


def grey(folder):
    plain(folder, mode="L")


def colour(folder):
    plain(folder)


def alpha(folder):
    plain(folder, mode="RGBA")


def two(folder):
    plain(folder, count=2)


def one_class(folder):
    plain(folder / "cats")


def forty_classes(folder):
    for i in range(40):
        paint(folder / f"kind {i:02}" / "it.png", seed=i)


def not_square(folder):
    plain(folder, size=(50, 12))


def small(folder):
    plain(folder, size=(20, 20))


def large(folder):
    plain(folder, count=3, size=(2000, 1500))


def captions(folder):
    plain(folder)
    rows = [{"file_name": f"{i}.png", "text": f"picture {i}", "label": "ab"[i % 2]} for i in range(6)]
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def deep(folder):
    for i in range(8):
        paint(folder / "ab"[i % 2] / "2024" / f"week {i}" / "x.jpg", seed=i)


def stray(folder):
    plain(folder)
    plain(folder / "more")
    plain(folder / "others")


def scripts(folder):
    for i, name in enumerate(["один", "二つ", "trois mots (3)", "naïve, même"]):
        paint(folder / name / "x.png", seed=i)
        paint(folder / name / "ÿ' 2.png", seed=9 + i)


def broken(folder):
    plain(folder, count=20)
    for i in (3, 7, 11, 13, 17):
        (folder / f"{i}.png").write_bytes(b"\x89PNG\r\n\x1a\n not a picture")


def duplicates(folder):
    for i in range(12):
        paint(folder / f"{i}.png", seed=i % 2)


FOLDERS = {  # what is in it: what is said of it, the channels, the classes
    grey: ("images in grey, as all files are (data.mode=L)", 1, 0),
    colour: ("no classes, for there are not two folders of images", 3, 0),
    alpha: ("images in colour (data.mode=RGB)", 3, 0),
    two: ("batches of 2 images, for there are no more (loader.batch_size=", 3, 0),
    one_class: ("no classes, for there are not two folders of images (data.label=none)", 3, 0),
    forty_classes: ("40 classes, the names of the folders (data.label=folder)", 3, 40),
    not_square: ("images in colour", 3, 0),
    small: ("images in colour", 3, 0),
    large: ("no metric of the samples: ", 3, 0),
    captions: ("2 classes, the column label of the metadata (data.label=label)", 3, 2),
    deep: ("2 classes, the names of the folders", 3, 2),
    stray: ("no classes (data.label=none): images lie beside the class folders, as ", 3, 0),
    scripts: ("4 classes", 3, 4),
    broken: ("images in colour", 3, 0),
    duplicates: ("images in colour", 3, 0),
}


@pytest.mark.parametrize(
    "fill",
    alike(FOLDERS, ["alpha", "captions", "forty_classes", "broken", "two"]),
)
def test_any_folder_trains_at_once(fill, tmp_path):
    photos = tmp_path / "mes photos (1)"
    fill(photos)
    code, said = forked(
        ["experiment=folder", f"data.path={photos.name}", "dir=run", *SHORT], tmp_path, tmp_path / "said.txt"
    )
    line, channels, classes = FOLDERS[fill]
    assert code == 0, said
    assert f"chosen: {line}" in said and "Traceback" not in said
    result = json.loads((tmp_path / "run" / "run.json").read_text())
    assert result["state"] == "done" and np.isfinite(result["results"]["val/loss"])
    with Image.open(result["results"]["picture"]) as picture:
        assert min(picture.size) > 16
    stored = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)["diffexp"]
    assert stored["shape"] == [channels, 16, 16] and len(stored["classes"] or ()) == classes


@pytest.mark.parametrize("count", alike([2, 7], ["7"]))
@pytest.mark.parametrize("shape, labels", [((20, 13), False), ((9, 9, 3), True)])
def test_any_array_trains_at_once(count, shape, labels, tmp_path):
    images = np.random.default_rng(0).integers(0, 255, (count, *shape), dtype=np.uint8)
    more = {"labels": np.arange(count) % 2} if labels else {}
    np.savez(tmp_path / "train.npz", images=images, **more)
    short = [text for text in SHORT if not text.startswith("data.")]
    code, said = forked(
        ["experiment=npz", "data.path=train.npz", "dir=run", *short], tmp_path, tmp_path / "said.txt"
    )
    assert code == 0, said
    assert json.loads((tmp_path / "run" / "run.json").read_text())["state"] == "done"


@pytest.mark.parametrize(
    "size, levels",
    [
        (64, 4),
        (96, 4),
        (32, 4),
        (28, 3),
        (20, 3),
        (16, 3),
        (10, 2),
        (35, 1),
        (2, 1),
        ((48, 64), 4),
        ((6, 8), 1),
    ],
)
def test_a_network_has_as_many_levels_as_halve_its_images(size, levels):
    both = (size, size) if isinstance(size, int) else size
    net = sized_unet(size, 3, 6, num_classes=None, channels=8)
    assert net.middle[0].conv2.out_channels == 8 * levels
    assert net(torch.zeros(1, 3, *both), torch.ones(1)).shape == (1, 6, *both)


def test_all_problems_come_with_a_line_that_works(tmp_path):
    plain(tmp_path / "my photos", count=13)
    code, said = forked(
        ["data=folder", "data.path=my photos", "logger=none"], tmp_path, tmp_path / "said.txt"
    )
    assert code == 2
    for problem in (
        "5 problems", "the data has no classes", "no maps of size 4", "digits64 measures images of 1x8x8",
        "the support vector machine judges some classes",
    ):  # fmt: skip
        assert problem in said
    (line,) = [text for text in said.splitlines() if text.startswith("this would work: ")]
    assert line == "this would work: python run.py experiment=folder 'data.path=my photos' logger=none"
    assert not (tmp_path / "runs").exists()


def test_the_line_that_works_changes_what_does_not(tmp_path):
    np.savez(tmp_path / "a.npz", images=np.zeros((8, 12, 12, 3), np.uint8))
    typed = [
        "experiment=npz",
        "data.path=a.npz",
        "network=unet_cifar10_small",
        "guidance.scale=2",
        "logger=none",
    ]
    code, said = forked([*typed, "name=it"], tmp_path, tmp_path / "said.txt")
    assert code == 2 and "no maps of size 8" in said and "guidance" in said
    (line,) = [text for text in said.splitlines() if text.startswith("this would work: ")]
    words = line.removeprefix("this would work: python run.py ").split()
    assert words == [typed[0], typed[1], "logger=none", "name=it", "network=unet_auto", "guidance.scale=1"]


def test_a_mistake_that_no_other_part_mends_has_no_such_line(tmp_path):
    code, said = forked(["sampler.steps=abc"], tmp_path, tmp_path / "said.txt")
    assert code == 2 and "this would work" not in said


@pytest.mark.parametrize(
    "wrong", ["network.channels=7", "network.levels=0", "trainer=gpu", "trainer.max_steps=-2"]
)
def test_no_line_is_offered_in_place_of_a_value_that_is_wrong(wrong, tmp_path):
    colour(tmp_path / "photos")
    typed = ["experiment=folder", "data.path=photos", "logger=none", wrong]
    code, said = forked(typed, tmp_path, tmp_path / "said.txt")
    assert code == 2 and "this would work" not in said and "lightning" not in said, said


@pytest.mark.slow
def test_other_classes_are_said_and_not_taken_silently(tmp_path):
    photos = tmp_path / "photos"
    for name in ("black", "white"):
        plain(photos / name, count=8)

    def type_(*typed):
        return forked(typed, tmp_path, tmp_path / "said.txt")

    again = ["resume=run", "trainer.max_steps=3"]
    bits = ["task=likelihood", "task.ckpt=run", "task.n=2", "logger=none", "dir=bits"]
    assert type_("experiment=folder", "data.path=photos", "dir=run", *SHORT)[0] == 0
    (photos / "black").rename(photos / "zblack")
    code, said = type_(*again)
    assert code == 3 and "classes of the images are now white, zblack, and were black, white" in said
    code, said = type_(*bits)
    assert code == 0 and "white, zblack, which are taken for black, white of the model" in said
    plain(photos / "another")
    code, said = type_(*bits)
    assert code == 2 and "knows the classes black, white, and the data has another, white, zblack" in said
    shutil.rmtree(photos / "another")
    (photos / "zblack").rename(photos / "black")
    assert type_(*again)[0] == 0


def test_hidden_folders_and_huge_sizes_are_left_alone(tmp_path):
    colour(tmp_path / "a")
    plain(tmp_path / "a" / ".thumbnails", count=2)
    assert len(Folder(str(tmp_path / "a"), 8).files) == 6
    with pytest.raises(ConfigError, match=r"data\.size=1000000 is more than 16,384 pixels"):
        Folder(str(tmp_path / "a"), 1_000_000)


def test_captions_beside_the_images_may_be_classes(tmp_path):
    colour(tmp_path / "a")
    for i in range(6):
        (tmp_path / "a" / f"{i}.txt").write_text(["a cat", "a dog"][i % 2])
    assert Folder(str(tmp_path / "a"), 8, label="text").classes == ("a cat", "a dog")


def test_grey_is_what_all_files_are(tmp_path):
    grey(tmp_path / "a")
    assert Folder(str(tmp_path / "a"), 8, mode="auto").shape == (1, 8, 8)
    paint(tmp_path / "a" / "z.png")
    assert Folder(str(tmp_path / "a"), 8, mode="auto").shape == (3, 8, 8)
    whole = Folder(str(tmp_path / "a"), 8, mode="RGB").split("train").batch(torch.arange(5)).image
    assert torch.equal(
        Folder(str(tmp_path / "a"), 8, mode="auto").split("train").batch(torch.arange(5)).image, whole
    )


def test_a_split_of_broken_images_alone_gets_others(tmp_path):
    broken(tmp_path / "a")
    data = Folder(str(tmp_path / "a"), 8, broken="skip")
    data.check()
    assert sum(len(data.split(part)) for part in ("train", "val", "test")) == 15
    shutil.rmtree(tmp_path / "a")


@pytest.mark.skipif(
    not WEIGHTS.is_file(), reason="set DIFFEXP_WEIGHTS to the folder of the Inception's weights"
)
def test_what_can_be_measured_is_where_the_weights_are(tmp_path):
    plain(tmp_path / "photos", count=12)
    typed = ["experiment=folder", "data.path=photos", "dir=run", *SHORT, "metrics.n=12"]
    code, said = forked([*typed, f"metrics.weights={WEIGHTS}"], tmp_path, tmp_path / "said.txt", 120)
    assert code == 0, said
    assert "chosen: KID of 12 images by 768 features of the Inception (metrics=auto)" in said
    results = json.loads((tmp_path / "run" / "run.json").read_text())["results"]
    card = results["cards"]["kid_inception768"]
    assert (card["n"], card["subset_size"]) == (12, 10) and abs(results["kid_inception768"]) < 1
    assert "fid_inception768" not in results  # 12 images are fewer than the features
