"""What a run suggests to type next works when it is pasted, for every recipe."""

import json
import shlex

import numpy as np
import pytest
from alike import alike
from commands import CONF, QUICK
from PIL import Image
from tiny_autoencoder import run

from diffexp.config.quoting import quoted

RECIPES = sorted(file.stem for file in (CONF / "experiment").glob("*.yaml") if file.stem != "dreambooth")
"""But for one that needs a base: training/test_prior_images.py."""
SMALL = [
    *QUICK, "metrics=none", "guidance.scale=1", "trainer=cpu", "trainer.max_steps=1", "loader.batch_size=4",
    "precision=fp32", "sampler.steps=2", "data=npz", "data.path=images.npz",
]  # fmt: skip
FOLDER, LATENT = ["data=folder", "data.path=my images", "data.size=8"], ["codec.ckpt=ae", "codec.cache=false"]
OWN = {
    "folder": FOLDER, "fashion_mnist_latent": LATENT,
    "emoji": ["~data.label"], "emoji_16": ["~data.label", "~data.size"],
    "emoji_latent": [*FOLDER, *LATENT, "conditioning=class", "data.label=folder"],
}  # fmt: skip
MORE = ["logger=none", "evaluator.pictures=4"]


@pytest.fixture
def images(tmp_path, monkeypatch):
    """A working directory with 8 images of each of 2 classes, as an array and as a folder."""
    monkeypatch.chdir(tmp_path)
    pixels = np.random.default_rng(0).integers(0, 255, (16, 8, 8, 3), dtype=np.uint8)
    captions = np.array([f"a {['red', 'blue'][i % 2]} dot" for i in range(16)])
    np.savez("images.npz", images=pixels, labels=np.arange(16) % 2, captions=captions)
    for i, image in enumerate(pixels):
        (tmp_path / "my images" / str(i % 2)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(f"my images/{i % 2}/{i}.png")


def said_next(said):
    """The words of each suggested line, as a shell and then we read them."""
    lines = said.partition("\nnext:\n")[2].splitlines()
    return [quoted(shlex.split(line)[2:]) for line in lines if line.startswith("  python run.py ")]


@pytest.mark.parametrize("recipe", alike(RECIPES, ["digits", "digits_text", "fashion_mnist_latent", "emoji"]))
def test_every_line_that_a_recipe_suggests_works(recipe, images, job, tmp_path, capsys):
    own = OWN.get(recipe, [])
    if recipe.endswith("_latent"):
        run(tmp_path / "ae", shape=(3, 8, 8))
    folder = job(f"experiment={recipe}", *SMALL, *own, folder="my first run")
    lines = said_next(capsys.readouterr().out)
    assert [line[0].partition("=")[0] for line in lines] == ["task", "task", "resume", "experiment"]
    sample, evaluate, longer, other = lines
    job(*sample, *MORE, "task.n=2", folder="sampled")
    assert (tmp_path / "sampled" / "samples" / "grid.png").is_file()
    capsys.readouterr()
    job(*evaluate, *MORE, folder="evaluated")
    again = said_next(capsys.readouterr().out)
    assert [line[0] for line in again] == ["task=sample", "task=evaluate"]
    assert again[0] == sample
    assert longer[1:] == ["trainer.max_steps=4"] and longer[0].partition("=")[2].strip("'") == str(
        folder.relative_to(tmp_path)
    )
    job(*other, "dry_run=true", folder="other")
    assert (
        other[-2] in ("schedule=linear", "schedule=cosine")
        and "dry_run: all checks" in capsys.readouterr().out
    )


def test_the_line_that_trains_longer_works(images, tmp_path):
    from forked import forked

    typed = ["experiment=npz", *SMALL, "dir=here and there", "trainer.val_check_interval=1"]
    code, said = forked(typed, tmp_path, tmp_path / "said.txt")
    assert code == 0, said
    (longer,) = [line for line in said_next(said) if line[0].startswith("resume")]
    code, said = forked(longer, tmp_path, tmp_path / "again.txt")
    assert code == 0 and "going on from step 1" in said, said
    assert json.loads((tmp_path / "here and there" / "run.json").read_text())["results"]["val/loss"]


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ([], ["task.n=16", "task.classes=[1]", "guidance.scale=2"]),
        (["conditioning.dropout=0"], ["task.n=16", "task.classes=[1]"]),
        (["conditioning=none"], ["task.n=16"]),
    ],
)
def test_sampling_is_suggested_as_the_model_is(images, job, capsys, typed, words):
    job(*SMALL, *typed)
    assert said_next(capsys.readouterr().out)[0][2:] == words


def test_an_evaluation_of_a_closed_form_suggests_nothing(job, capsys):
    job("task=evaluate", "network=gaussian", "sampler.steps=2", "metrics=none", *MORE)
    assert "next:" not in capsys.readouterr().out
