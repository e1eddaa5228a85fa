"""conditioning=with_size: what the network is told of pictures, in training, guidance and sampling."""

import pytest
import torch
from commands import QUICK, composed
from PIL import Image

from diffexp.condition import Asked
from diffexp.conditioning import ClassIfAny, ClassLabel, Unconditional, WithSize, dropped
from diffexp.errors import ConfigError
from diffexp.model.find import find
from diffexp.model.restore import restore
from diffexp.model.sizes import of_picture, of_size
from diffexp.networks import UNet
from diffexp.tasks.run import run_job

SIZE = torch.tensor([[100, 80, 0, 3, 16, 16]]).expand(4, 6)


def generator():
    return torch.Generator().manual_seed(0)


def done(line, folder):
    cfg, choices = composed(line)
    return run_job(cfg, folder, line, choices)


def test_guidance_keeps_the_size_and_training_drops_it_alone():
    of = ClassLabel(0.0)
    both = WithSize(of, dropout=0.5)
    both.setup(3)
    assert both.asks == ("label",) and both.network() == {"num_classes": 3, "sizes": 6}
    asked = Asked(4, torch.tensor([0, 1, 2, 0]), size=SIZE)
    null = both.null(asked)
    assert null.label.tolist() == [3] * 4 and torch.equal(null.size, SIZE)
    many = Asked(1000, torch.zeros(1000, dtype=torch.int64), size=SIZE[:1].expand(1000, 6))
    cond = dropped(both, many, generator())
    gone = (cond.size == 0).all(1)
    assert 440 < gone.sum() < 560 and (cond.label == 0).all()
    assert torch.equal(cond.size[~gone], many.size[~gone])


def test_the_class_is_dropped_as_without_and_the_size_stays():
    alone, both = ClassLabel(0.3), WithSize(ClassLabel(0.3), dropout=0.0)
    many = Asked(1000, torch.ones(1000, dtype=torch.int64), size=SIZE[:1].expand(1000, 6))
    for part in (alone, both):
        part.setup(3)
    cond = dropped(both, many, generator())
    assert torch.equal(cond.label, dropped(alone, many, generator()).label)
    assert torch.equal(cond.size, many.size)


def test_sizes_without_another_condition():
    for of in (Unconditional(), ClassIfAny()):
        both = WithSize(of, dropout=0.0)
        both.setup(None)
        asked = Asked(4, size=SIZE)
        assert torch.equal(both.encode(asked).size, SIZE) and not both.guidable
        assert both.encode(Asked(4)).size.tolist() == [[0] * 6] * 4
        assert both.keep(4, generator()) is None


def test_each_number_of_pixels_changes_what_the_network_says():
    torch.manual_seed(0)
    network = UNet(8, 1, 1, channels=32, channel_mult=(1,), blocks=1, attention=(), sizes=6)
    both = WithSize(Unconditional())
    x, t = torch.randn(1, 1, 8, 8), torch.tensor([0.5])
    said = network.embedding(t, both.encode(Asked(1, size=SIZE[:1])))
    for i in range(6):
        other = SIZE[:1].clone()
        other[0, i] += 1
        assert (network.embedding(t, both.encode(Asked(1, size=other))) - said).abs().max() > 0.01
    with pytest.raises(ConfigError, match="takes size of width 6, but was given no size"):
        network(x, t)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    path = tmp_path_factory.mktemp("pictures")
    for i in range(12):
        Image.new("L", (16 + i, 16), 20 * i).save(path / f"{i}.png")
    data = [
        "data=folder",
        f"data.path={path}",
        "data.size=16",
        "data.mode=L",
        "metrics=none",
        "network.attention=[8]",
    ]
    done(["conditioning=with_size", "data.crop=random", *data, *QUICK], path / "run")
    return path


def test_a_run_is_told_sizes_and_asked_for_others(trained):
    model = restore(find(trained / "run")).model
    assert model.condition(Asked(2)).size.tolist() == [[16, 16, 0, 0, 16, 16]] * 2
    wide = of_size(of_picture(model, [40, 50, 1, 2], "task.picture"), (16, 32), "task.size")
    assert wide.condition(Asked(1)).size.tolist() == [[40, 50, 1, 2, 16, 32]]
    with pytest.raises(ConfigError, match=r"is no picture\n.*task.picture\n.*task.picture=\[64,64,0,0\]"):
        of_picture(model, [40, 50], "task.picture")
    sample = ["task=sample", f"task.ckpt={trained / 'run'}", "task.n=2", *QUICK[6:]]
    for name, more in (
        ("own", []),
        ("same", ["task.picture=[16,16,0,0]"]),
        ("far", ["task.picture=[999,999,0,0]"]),
    ):
        done([*sample, *more], trained / name)
    read = [
        next(iter((trained / name / "samples").glob("0*.png"))).read_bytes()
        for name in ("own", "same", "far")
    ]
    assert read[0] == read[1]


def test_data_that_says_no_sizes_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="does not say of which pictures its images are"):
        done(["conditioning=with_size", *QUICK], tmp_path / "run")
    with pytest.raises(ConfigError, match="was not trained with the sizes"):
        done(QUICK, tmp_path / "plain")
        of_picture(restore(find(tmp_path / "plain")).model, [8, 8, 0, 0], "task.picture")
