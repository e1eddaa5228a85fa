"""Images of another size than that of the training: the same noise rules, and refusals that say a size."""

import pytest
import torch
from commands import QUICK, composed

from diffexp.data.images import sides_of
from diffexp.diffusion.clip import Static
from diffexp.diffusion.guidance import ClassifierFree
from diffexp.errors import ConfigError
from diffexp.model.restore import restore
from diffexp.model.sizes import of_size, side_multiple
from diffexp.randomness import Noise
from diffexp.samplers import DDIM, generate
from diffexp.tasks.run import run_job


def run(folder, *typed):
    line = [*typed, "logger=none", f"dir={folder}"]
    cfg, choices = composed(line)
    return run_job(cfg, folder, line, choices)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run on the digits, 8 x 8; its network halves them once."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    run(folder, *QUICK, "conditioning=none")
    return folder


def test_images_of_another_size_are_of_the_same_network_and_noise(trained):
    model = restore(trained).model.eval()
    other = of_size(model, (12, 20), "task.size")
    assert (
        other.latent_shape == (1, 12, 20) and other.denoiser is model.denoiser and side_multiple(model) == 2
    )
    assert of_size(model, 8, "task.size") is model and of_size(model, (8, 8), "task.size") is model
    images = generate(other, DDIM(steps=2), torch.tensor([5, 2]), seed=3)
    assert images.shape == (2, 1, 12, 20)
    assert torch.equal(images[1:], generate(other, DDIM(steps=2), torch.tensor([2]), seed=3))
    x = Noise(3, torch.tensor([2]), (1, 12, 20))
    denoise, _ = model.denoise(ClassifierFree(), Static(), None)
    made = DDIM(steps=2).sample(denoise, model.denoiser.schedule, x, None)
    assert torch.equal(images[1:], model.codec.decode(made))


def test_a_typed_size_is_that_of_the_pictures(trained, tmp_path, capsys):
    typed = ["task=sample", f"task.ckpt={trained}", "task.n=2", "sampler.steps=2"]
    run(tmp_path / "a", *typed, "task.size=[12,20]")
    assert "images of 12x20 by a model of 8x8" in capsys.readouterr().out
    files = sorted((tmp_path / "a" / "samples").glob("0*.png"))
    assert [sides_of(file) for file in files] == [(12, 20)] * 2


@pytest.mark.parametrize(
    ("size", "do"),
    [
        ("[13,20]", "type task.size=[12,20]"), ("9", "type task.size=[8,8]"), ("[8]", "a list of 2"),
        ("0", "task.size=64"), ("100000", "give less"),
    ],
)  # fmt: skip
def test_a_size_that_the_network_cannot_make_is_refused_with_one_that_it_can(trained, tmp_path, size, do):
    with pytest.raises(ConfigError) as error:
        run(tmp_path, "task=sample", f"task.ckpt={trained}", f"task.size={size}")
    assert error.value.where == "task.size" and do in error.value.do


def test_a_network_that_makes_images_of_one_size_alone_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="one size alone, 8x8"):
        run(tmp_path, "task=sample", "network=gaussian", "data=digits", "task.size=16")
