"""The levels of a network: which images they divide, and how attention names them."""

import pytest
import torch
import yaml
from commands import CONF, composed

from diffexp.errors import ConfigError
from diffexp.networks import UNet, sized_unet
from diffexp.networks.levels import plan
from diffexp.networks.noisy_classifier import NoisyClassifier


def attended(size, attention, levels=3):
    return [level.attention for level in plan(size, 8, (1,) * levels, attention)]


@pytest.mark.parametrize(
    ("by_size", "by_factor"),
    [([], []), ([32], ["1/1"]), ([8], ["1/4"]), ([16, 8], ["1/4", "1/2"]), ([8, 16], [8, "1/2", "1/4"])],
)
def test_a_factor_is_the_size_of_its_maps(by_size, by_factor):
    wanted = [size in by_size for size in (32, 16, 8)]
    assert attended(32, by_size) == attended(32, by_factor) == wanted
    assert attended((32, 32), by_size) == wanted  # two equal numbers are one
    factors = [name for name in by_factor if name != 8]
    assert attended((32, 48), factors) == attended((48, 32), factors) == wanted


@pytest.mark.parametrize(("size", "by_size"), [(32, [16]), (32, [16, 8]), (64, [32, 16, 8]), (8, [4])])
def test_the_attention_of_the_papers_by_factors_is_the_same_network(size, by_size):
    """Those of conf/network, narrowed: bit for bit the same weights and outputs."""
    nets, mult = [], (1,) * (size // by_size[-1]).bit_length()
    for attention in (by_size, [f"1/{size // s}" for s in by_size]):
        torch.manual_seed(0)
        nets.append(UNet(size, 1, 1, channels=8, channel_mult=mult, blocks=1, attention=attention, groups=2))
    first, second = (net.state_dict() for net in nets)
    assert list(first) == list(second) and all(torch.equal(first[name], second[name]) for name in first)
    with torch.no_grad():
        for net in nets:
            net.conv_out.weight.fill_(0.1)
    x, t = torch.randn(2, 1, size, size), torch.rand(2)
    assert torch.equal(nets[0](x, t), nets[1](x, t)) and nets[0](x, t).any()


def test_every_option_names_a_level_of_its_size():
    sizes = {"tiny": 8, "digits": 8, "mnist": 28, "small": 32, "ddpm": 32, "iddpm": 32, "adm64": 64}
    sizes |= {"text": 8, "text64": 64, "sd1": 64}
    for file in sorted((CONF / "network").glob("unet_*.yaml")):
        node = {"attention": [16]} | yaml.safe_load(file.read_text())
        if "channel_mult" not in node:  # unet_auto, whose levels are those of its images
            continue
        size = sizes[file.stem.rpartition("_")[2]]
        levels = plan(size, 8, node["channel_mult"], node["attention"])
        factors = [f"1/{2**i}" for i, level in enumerate(levels) if level.attention]
        named = [a if isinstance(a, int) else size // int(a[2:]) for a in node["attention"]]
        assert [size // int(f[2:]) for f in factors] == sorted(named, reverse=True)
        assert plan((size, 2 * size), 8, node["channel_mult"], factors) == levels


@pytest.mark.parametrize("typed", ["[1/4]", "[1/2,1/4]", "['1/4']", "[1/1, 1/16]", "[8,1/4]", "[]"])
def test_a_command_line_keeps_a_factor_as_it_is_typed(typed):
    kept = list(composed([f"network.attention={typed}"])[0].network.attention)
    assert kept == [int(a) if a.isdecimal() else a for a in typed.strip("[]").replace("'", "").replace(
        " ", "").split(",") if a]  # fmt: skip


@pytest.mark.parametrize(
    ("context", "wanted"),
    [
        (None, [False, True, True]),
        ([], [False] * 3),
        ([32], [True, False, False]),
        (["1/2"], [False, True, False]),
    ],
)
def test_context_names_levels_as_attention_does_and_is_the_same_by_default(context, wanted):
    levels = plan(32, 8, (1, 1, 1), [16, "1/4"], context)
    assert [level.context for level in levels] == wanted
    assert [level.attention for level in levels] == [False, True, True]
    with pytest.raises(ConfigError, match=r"no maps of size 5[\s\S]*network\.context"):
        plan(32, 8, (1, 1, 1), [], [5])


@pytest.mark.parametrize(
    ("size", "mult", "text"),
    [
        (28, 4, r"images of size 28 cannot be halved 3 times\n.*network\.channel_mult\n.*at most 3 numbers"),
        ((28, 28), 4, "images of size 28 cannot be halved 3 times"),
        ((64, 90), 3, r"images of width 90 cannot be halved 2 times\n.*channel_mult\n.*at most 2 numbers"),
        ((90, 64), 3, "images of height 90 cannot be halved 2 times"),
        ((12, 90), 4, "images of width 90 cannot be halved 3 times\n.*\n.*at most 2 numbers"),  # both cannot
        ((0, 8), 1, "cannot be halved 0 times"),
    ],
)
def test_a_side_that_cannot_be_halved_often_enough_is_named(size, mult, text):
    for made in (UNet, NoisyClassifier):
        with pytest.raises(ConfigError, match=text):
            made(size, 1, 2, channels=8, channel_mult=(1,) * mult, attention=(), groups=2)


@pytest.mark.parametrize(
    ("size", "attention", "text"),
    [
        (32, [5], r"maps of size 5 [\s\S]* choose from \[32, 16, 8\], or from \[1/1, 1/2, 1/4\], the same"),
        (32, ["1/8", 16], "no maps of size 1/8 to attend in: those of this network are"),
        (32, ["16"], "no maps of size 16 to"),  # a text
        ((32, 48), [16], r"no maps of size 16 to attend in: images of 32x48 are not square\n.*attention\n.*"
         r"choose from 1/1 \(32x48\), 1/2 \(16x24\), 1/4 \(8x12\), as in network\.attention=\[1/4\]"),
        ((32, 48), ["1/2", 24, 16, 24, "1/3"], "no maps of size 24, 16, 1/3 to"),
    ],
)  # fmt: skip
def test_what_is_no_level_is_answered_with_those_there_are(size, attention, text):
    with pytest.raises(ConfigError, match=text):
        plan(size, 8, (1, 1, 1), attention)


@pytest.mark.parametrize(("channels", "groups"), [(32, 32), (64, 32), (8, 8), (20, 4)])
def test_a_network_of_any_size_normalises_in_groups_that_divide_its_channels(channels, groups):
    with torch.device("meta"):
        net = sized_unet(16, 3, 3, channels=channels)
    assert {part.num_groups for part in net.modules() if isinstance(part, torch.nn.GroupNorm)} == {groups}
