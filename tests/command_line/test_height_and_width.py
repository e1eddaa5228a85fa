"""Images whose height is not their width: from a folder through every task, and back into a folder."""

import json

import numpy as np
import pytest
import torch
from commands import QUICK
from PIL import Image

from diffexp.config.untrusted import typed_before
from diffexp.errors import ConfigError, DataError
from diffexp.model.restore import restore
from diffexp.pictures import GAP, MARGIN

H, W = 16, 24
TRAIN = [
    *QUICK, "metrics=none", f"data.size=[{H},{W}]", "network.attention=[1/2]", "loader.batch_size=16",
    "loader.flip=true", "trainer.max_steps=2", "trainer.log_every_n_steps=1", "data=folder",
]  # fmt: skip


def painted(root, height, width, n=40):
    """n images in two classes, whose upper half is bright, and the left one red or blue."""
    for i in range(n):
        pixels = np.full((height, width, 3), 40 + i, np.uint8)
        pixels[: height // 2, :, 1] = 250
        pixels[:, : width // 2, 2 * (i % 2)] = 220
        path = root / ("red", "blue")[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    return root


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return painted(tmp_path_factory.mktemp("images"), H, W)


@pytest.fixture(scope="module")
def trained(images, tmp_path_factory):
    from commands import composed

    from diffexp.tasks.run import run_job

    folder = tmp_path_factory.mktemp("trained") / "run"
    overrides = [*TRAIN, f"data.path={images}", f"dir={folder}"]
    cfg, choices = composed(overrides)
    run_job(cfg, folder, overrides, choices)
    return folder


def results(folder):
    return json.loads((folder / "run.json").read_text())["results"]


def test_the_network_and_its_images_have_both(trained):
    model = restore(trained).model
    assert model.shape == model.latent_shape == (3, H, W)
    assert model.denoiser.network.image_size == (H, W)


def test_the_grid_has_the_shape_of_its_images(trained, job):
    out = job("task=sample", "logger=none", f"task.ckpt={trained}", "task.n=6", "task.npz=true", folder="s")
    with Image.open(out / "samples" / "grid.png") as page:
        pixels = np.asarray(page)
    assert pixels.shape[0] == 2 * 3 * H + GAP + 2 * MARGIN  # two rows, each pixel a 3x3 square
    right = pixels.shape[1] - MARGIN
    with np.load(out / "samples" / "samples.npz") as arrays:
        assert arrays["images"].shape == (6, H, W, 3)
        last = arrays["images"][4].repeat(3, 0).repeat(3, 1)  # the third of the first class
        for i, image in enumerate(arrays["images"]):
            with Image.open(out / "samples" / f"{i:05d}_seed0.png") as single:
                assert single.size == (W, H) and np.array_equal(np.asarray(single), image)
    assert np.array_equal(pixels[MARGIN : MARGIN + 3 * H, right - 3 * W : right], last)


def test_a_run_goes_on_as_if_it_had_not_ended(images, job):
    def last(folder):
        return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)

    typed = [*TRAIN, "lr=constant", f"data.path={images}"]
    first = last(job(*typed, folder="run"))
    again = last(job(*typed, "trainer.max_steps=4", folder="run"))
    whole = last(job(*typed, "trainer.max_steps=4", folder="whole"))
    assert (first["global_step"], again["global_step"], whole["global_step"]) == (2, 4, 4)
    assert all(torch.equal(again["trained"][name], value) for name, value in whole["trained"].items())
    assert not all(torch.equal(first["trained"][name], value) for name, value in whole["trained"].items())


@pytest.mark.parametrize(
    "task",
    [
        ["likelihood", "task.n=2", "task.steps=4"],
        ["likelihood", "task.n=2", "task.method=flow", "task.tolerance=0.1"],
        ["encode", "task.n=2", "sampler.steps=20", "sampler.eta=0"],
        ["interpolate", "task.n=2", "task.points=3"],
        ["evaluate"],
    ],
    ids=lambda task: "_".join(task[:1] + task[2:3]),
)
def test_every_task_takes_them(trained, job, task):
    kept = results(job(f"task={task[0]}", *task[1:], "logger=none", f"task.ckpt={trained}", folder="out"))
    if task[0] == "likelihood":
        assert 3 < kept["bpd"] < 12 and kept["n"] == 2
    if task[0] == "encode":
        assert kept["mse"] < 0.05
    if "picture" in kept:
        with Image.open(kept["picture"]) as page:
            high = (page.height - 2 * MARGIN + GAP) / (3 * H + GAP)  # rows
            assert high == 2 or task[0] == "evaluate"


def test_a_classifier_guides_them(trained, job):
    base = ["logger=none", f"task.ckpt={trained}"]
    few = ["task.steps=3", "task.batch_size=8", "task.channels=8"]
    guide = job("task=classifier", *base, *few, folder="guide")
    node = torch.load(guide / "checkpoints" / "last.ckpt", weights_only=True)["diffexp"]["network"]
    assert (node["image_size"], node["attention"]) == ([H, W], ["1/2"])
    sample = [
        "task=sample",
        *base,
        "task.n=2",
        "task.npz=true",
        "guidance=classifier",
        f"guidance.ckpt={guide}",
    ]
    arrays = [
        np.load(job(*sample, f"guidance.scale={scale}", folder=f"g{scale}") / "samples" / "samples.npz")
        for scale in (2, 4)
    ]
    assert arrays[0]["images"].shape == (2, H, W, 3)
    assert not np.array_equal(arrays[0]["images"], arrays[1]["images"])
    with pytest.raises(ConfigError, match=r"width 24 cannot be halved 5 times\n  at: task\.channel_mult"):
        job("task=classifier", *base, *few, "task.channel_mult=[1,1,1,1,1,1]", folder="no")


@pytest.mark.parametrize("network", ["gaussian", "mixture", "ideal"])
def test_a_closed_form_makes_them_from_a_folder_or_an_array(network, images, job, tmp_path):
    pixels = np.stack([np.asarray(Image.open(path)) for path in sorted(images.rglob("*.png"))])
    np.savez(tmp_path / "a.npz", images=pixels)
    sample = ["task=sample", "logger=none", f"network={network}", "task.n=2", "task.npz=true"]
    for data in (["data=folder", f"data.path={images}", f"data.size=[{H},{W}]", "data.label=none"],
        ["data=npz", f"data.path={tmp_path / 'a.npz'}"]):  # fmt: skip
        out = job(*sample, *data, "conditioning=none", "guidance.scale=1", folder=data[0][5:])
        with np.load(out / "samples" / "samples.npz") as arrays:
            made = arrays["images"]
        assert made.shape == (2, H, W, 3)
        if network == "ideal":  # learned by heart
            assert all(np.abs(pixels.astype(int) - image).max((1, 2, 3)).min() <= 8 for image in made)


def test_images_of_the_wrong_shape_are_not_measured(images, job, tmp_path):
    data = ["logger=none", "data=folder", f"data.path={images}", f"data.size=[{H},{W}]", "metrics=digits"]
    with pytest.raises(ConfigError, match="digits64 measures images of 1x8x8, not 3x16x24"):
        job("task=measure", *data, f"task.images={images}", folder="no")
    turned = painted(tmp_path / "turned", W, H, 4)
    with pytest.raises(DataError, match=r"is 24x16, those of .*-16x24 are 16x24 \(height x width\)"):
        job("task=measure", *data, f"task.images={turned}", folder="no")
    for path in turned.rglob("*.png"):  # which a camera was held upright for
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.open(path).save(path, exif=exif)
    with pytest.raises(ConfigError, match="digits64 measures"):  # they are read, and the metric refuses
        job("task=measure", *data, f"task.images={turned}", folder="no")


@pytest.mark.parametrize(
    ("typed", "text"),
    [
        ("network.attention=[8]", r"no maps of size 8 to attend in: images of 16x24 are not square\n.*\n.*"
         r"choose from 1/1 \(16x24\), 1/2 \(8x12\), as in network\.attention=\[1/2\]"),
        ("network.attention=1/2", "attention=1/2 is not a list, each a whole number or text"),
        ("data.size=[15,24]", r"images of height 15 cannot be halved 1 times"),
        ("data.size=[16,24,3]", "is not a whole number or a list of 2, each a whole number"),
        ("data.size=16x24", "is not a whole number or a list of 2, each a whole number"),
        ("data.size=[0,24]", r"data\.size=\[0, 24\] is no size[\s\S]*data\.size=\[48,64\]"),
    ],
)  # fmt: skip
def test_what_does_not_fit_has_one_answer(typed, text, images, job):
    with pytest.raises(ConfigError, match=text) as error:
        job(*TRAIN, f"data.path={images}", typed, folder="no")
    assert str(error.value).count("  at: ") == 1


def test_a_factor_in_a_run_folder_is_no_path(tmp_path, caplog):
    lines = ["network.attention=[1/2,1/16]", "data.size=[16,24]"]
    (tmp_path / "overrides.yaml").write_text(json.dumps(lines))
    assert typed_before(tmp_path) == lines and caplog.messages == []
    (tmp_path / "overrides.yaml").write_text(json.dumps(["data.path=1/a"]))
    assert typed_before(tmp_path) and caplog.messages[0].startswith("using data.path=1/a, which")


def test_a_larger_picture(tmp_path, job):
    """64x96, of which the network has three levels; a photograph of another shape is cut to it."""
    images = painted(tmp_path / "images", 64, 96, 6)
    Image.new("RGB", (300, 100), "green").save(images / "red" / "wide.png")
    more = ["data.size=[64,96]", "network.channel_mult=[1,1,2]", "network.attention=[1/4]"]
    out = job(*TRAIN, f"data.path={images}", *more, "loader.batch_size=4", "evaluator.pictures=2")
    with Image.open(out / "samples" / "step_00000002.png") as page:
        top = page.height - MARGIN - (2 * 64 + GAP)
        assert top > MARGIN  # the title
        column = np.asarray(page)[top:, page.width - MARGIN - 50]
    assert (column[64 : 64 + GAP] == column[-1]).all()  # paper between the two
