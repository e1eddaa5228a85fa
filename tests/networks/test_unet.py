"""The UNet: its size, its layouts, its precision, and what it refuses."""

import re

import pytest
import torch
from commands import CONF, composed
from omegaconf import OmegaConf
from torch import nn

from diffexp.condition import Condition
from diffexp.config.build import build
from diffexp.errors import ConfigError
from diffexp.networks import UNet
from diffexp.networks.blocks import attend
from diffexp.networks.embedding import sinusoid
from diffexp.networks.noisy_classifier import NoisyClassifier

SMALL = {"channels": 16, "channel_mult": (1, 2), "blocks": 1, "attention": (4,), "groups": 2}
VARIANTS = {
    "plain": {},
    "scale_shift": {"scale_shift": True},
    "updown": {"updown": True},
    "heads": {"heads": 4},
    "head_channels": {"head_channels": 8},
    "adm": {"scale_shift": True, "updown": True, "head_channels": 8, "blocks": 2},
}
PRESETS = sorted(p.stem for p in (CONF / "network").glob("unet_*.yaml"))
FIXED = {  # size, colours, outputs, classes, the width of tokens, of a vector
    "unet_tiny": (8, 1, 1, 10),
    "unet_digits": (8, 1, 1, 10),
    "unet_mnist": (28, 1, 1, 10),
    "unet_cifar10_small": (32, 3, 3, 10),
    "unet_cifar10_ddpm": (32, 3, 3, None),
    "unet_cifar10_iddpm": (32, 3, 6, None),
    "unet_adm64": (64, 3, 6, 1000),
    "unet_auto": (64, 3, 3, None),
    "unet_latent": (7, 4, 4, 10),
    "unet_digits_text": (8, 3, 3, None, 64, 64),
    "unet_text64": (64, 3, 3, None, 768, 768),
    "unet_sd1": (64, 4, 4, None, 768),
}


def awake(net, std=0.1):
    """With weights where a new network has zeros."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for part in net.modules():
            if isinstance(part, nn.Conv2d):
                part.weight.normal_(std=std, generator=generator)
    return net


def small(classes=3, **options):
    torch.manual_seed(0)
    return awake(UNet(8, 1, 2, classes, **SMALL | options))


def batch(n=4, classes=3, seed=0):
    g = torch.Generator().manual_seed(seed)
    cond = None if classes is None else Condition(torch.randint(classes + 1, (n,), generator=g))
    return torch.randn(n, 1, 8, 8, generator=g), torch.rand(n, generator=g), cond


@pytest.mark.parametrize("name", PRESETS)
def test_preset_has_the_parameters_that_it_states(name):
    text = (CONF / "network" / f"{name}.yaml").read_text()
    stated = int(re.search(r"([\d,]+) parameters", text)[1].replace(",", ""))
    keys = ("image_size", "in_channels", "out_channels", "num_classes", "token_dim", "vector_dim")
    make = build(OmegaConf.to_container(composed([f"network={name}"])[0].network))
    with torch.device("meta"):
        net = make(**dict(zip(keys, FIXED[name], strict=False)))
    assert sum(p.numel() for p in net.parameters()) == stated


def test_network_of_ddpm_has_its_35_746_307_parameters():
    with torch.device("meta"):
        net = UNet(32, 3, 3, None)
    assert sum(p.numel() for p in net.parameters()) == 35_746_307


@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)
def test_variants_run_and_begin_at_zero(options):
    torch.manual_seed(0)
    net = UNet(8, 1, 2, 3, **SMALL | options)
    x, t, cond = batch()
    out = net(x, t, cond)
    assert out.shape == (4, 2, 8, 8) and not out.any()
    out = awake(net)(x, t, cond)
    assert out.isfinite().all() and out.std() > 1e-3
    out.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


def test_time_class_and_null_label_matter():
    net, (x, t, _) = small().eval(), batch()
    outs = [net(x, t, Condition(torch.full((4,), c))) for c in range(4)]
    outs.append(net(x, t + 0.1, Condition(torch.zeros(4).long())))
    for i, a in enumerate(outs):
        for b in outs[:i]:
            assert not torch.allclose(a, b, atol=1e-5)


def test_images_of_a_batch_do_not_see_each_other():
    net, (x, t, cond) = small().eval(), batch()
    torch.testing.assert_close(net(x, t, cond)[2:3], net(x[2:3], t[2:3], cond[2:3]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)
def test_both_layouts_give_the_same_and_stay_channels_last(options):
    net, (x, t, cond) = small(**options).eval(), batch()
    seen = []
    for part in net.modules():
        if isinstance(part, nn.Conv2d):
            part.register_forward_hook(lambda _m, given, out: seen.extend((*given, out)))
    a = net(x, t, cond)
    assert all(out.is_contiguous(memory_format=torch.channels_last) for out in seen if min(out.shape[1:]) > 1)
    reference = small(**options).eval().to(memory_format=torch.contiguous_format)
    torch.testing.assert_close(reference(x, t, cond), a, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)
def test_recomputation_gives_the_same_gradients(options):
    grads = []
    for checkpoint in (False, True):
        net, (x, t, cond) = small(**options, dropout=0.3, checkpoint=checkpoint), batch()
        torch.manual_seed(7)
        net(x, t, cond).square().mean().backward()
        grads.append([p.grad for p in net.parameters()])
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_compiles_without_a_break():
    net, (x, t, cond) = small().eval(), batch()
    torch._dynamo.reset()
    compiled = torch.compile(net, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(x, t, cond), net(x, t, cond), rtol=1e-4, atol=1e-5)


def test_times_stay_apart_under_bfloat16():
    """The embedding is float32 whatever autocast says: neighbouring steps of the chain are told apart."""
    net = small().eval()
    t = torch.tensor([0.998, 0.999, 1.0])
    cond = Condition(torch.zeros(3).long())
    whole = net.embedding(t, cond)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(net.embedding(t, cond), whole)
        out = net(batch(3)[0], t, cond)
    assert out.dtype == torch.bfloat16 and whole.dtype == torch.float32
    assert not torch.allclose(whole[0], whole[1], atol=1e-5)


def test_bfloat16_is_near_float32():
    net, (x, t, cond) = small().eval(), batch()
    want = net(x, t, cond)
    with torch.autocast("cpu", torch.bfloat16):
        got = net(x, t, cond).float()
    assert (got - want).norm() < 0.03 * want.norm()


def test_sinusoid_is_that_of_the_paper():
    t, n = torch.tensor([0.0, 0.25]), 8
    told = sinusoid(t, 2 * n)
    w = 10000.0 ** (-torch.arange(n) / (n - 1))
    torch.testing.assert_close(told[1], torch.cat([(250 * w).sin(), (250 * w).cos()]), rtol=1e-4, atol=1e-4)
    assert told[0].tolist() == [0.0] * n + [1.0] * n


def turned(net):
    """With the kernels of another network, transposed."""
    return {name: v.transpose(-1, -2) if v.ndim == 4 else v for name, v in net.state_dict().items()}


@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)
def test_a_transposed_image_gives_a_transposed_output_with_transposed_kernels(options):
    """An identity that fails wherever height and width are taken for each other."""
    x, t, cond = torch.randn(4, 1, 8, 12, generator=torch.Generator().manual_seed(0)), *batch()[1:]
    for attention in (["1/2"], ["1/1", "1/2"]):  # also in maps of 96 positions
        nets = [
            UNet(size, 1, 2, 3, **SMALL | options | {"attention": attention}) for size in ((8, 12), (12, 8))
        ]
        awake(nets[0])
        nets[1].load_state_dict(turned(nets[0]))
        want, got = nets[0].eval()(x, t, cond), nets[1].eval()(x.mT, t, cond).mT
        assert want.shape == (4, 2, 8, 12) and want.std() > 1e-3
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)


def test_the_classifier_of_a_transposed_image_with_transposed_kernels_says_the_same():
    nets = [NoisyClassifier(s, 1, 3, 16, attention=("1/1",), dropout=0.0) for s in ((8, 12), (12, 8))]
    awake(nets[0])
    nets[1].load_state_dict(turned(nets[0]))
    x, t, _ = torch.randn(4, 1, 8, 12, generator=torch.Generator().manual_seed(0)), *batch()[1:]
    want = nets[0](x, t)
    assert want.shape == (4, 3) and want.std() > 1e-2
    torch.testing.assert_close(nets[1](x.mT, t), want, rtol=1e-4, atol=1e-5)


def test_the_weights_know_nothing_of_the_size():
    """Same number, same order, same values: those of 8x8 are those of any height and width."""
    states = []
    for size in (8, (8, 8), (16, 24), (2, 64)):
        torch.manual_seed(0)
        states.append(UNet(size, 1, 2, 3, **SMALL | {"attention": ("1/2",)}).state_dict())
    assert sum(v.numel() for v in states[0].values()) > 10_000
    for other in states[1:]:
        assert list(other) == list(states[0])
        assert all(torch.equal(other[name], value) for name, value in states[0].items())


@pytest.mark.parametrize("size", [(16, 24), (2, 64)])
def test_an_image_that_is_not_square_comes_out_as_large(size):
    net = small(**{"attention": ("1/1", "1/2")}).eval()
    x, t, cond = torch.randn(4, 1, *size), *batch()[1:]
    whole = net(x, t, cond)
    assert whole.shape == (4, 2, *size) and whole.isfinite().all()
    torch.testing.assert_close(net(x[2:3], t[2:3], cond[2:3]), whole[2:3], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("positions", [16, 64, 400])
def test_attention_is_that_of_torch(positions):
    g = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, 3, positions, 8, generator=g) for _ in range(3))
    want = nn.functional.scaled_dot_product_attention(q, k, v)
    torch.testing.assert_close(attend(q, k, v), want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"groups": 3}, r"cannot be normalised in 3 groups[\s\S]*network\.groups"),
        ({"heads": 5}, r"cannot be split with heads=5[\s\S]*network\.heads"),
        ({"head_channels": 5}, r"head_channels=5"),
        ({"attention": (5,)}, r"no maps of size 5[\s\S]*choose from \[8, 4\]"),
        ({"channel_mult": (1, 2, 2, 2, 2)}, r"cannot be halved 4 times[\s\S]*network\.channel_mult"),
        ({"channels": 3}, r"network\.channels"),
        ({"blocks": 0}, r"blocks=0"),
        ({"dropout": 1.0}, r"dropout=1\.0"),
    ],
)
def test_refusals_name_the_key(options, text):
    with pytest.raises(ConfigError, match=text):
        UNet(8, 1, 1, None, **SMALL | options)


def test_labels_must_fit():
    x, t, cond = batch()
    with pytest.raises(ConfigError, match="given no label"):
        small()(x, t)
    with pytest.raises(ConfigError, match="knows no classes"):
        small(None)(x, t, cond)
