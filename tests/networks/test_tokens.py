"""What the UNet is told by tokens and by a vector: identities, layouts, precision, and what it refuses."""

from dataclasses import replace

import pytest
import torch
from commands import composed
from omegaconf import OmegaConf
from torch import nn

from diffexp.condition import Condition
from diffexp.errors import ConfigError
from diffexp.networks import UNet, sized_unet
from diffexp.networks.blocks import Attention, Context, attend
from diffexp.networks.transformer import FeedForward, Positions, SequenceAttention, SpatialTransformer
from diffexp.sweep.cell import identity

L, D, P = 6, 12, 5
SMALL = {"channels": 16, "channel_mult": (1, 2), "blocks": 1, "attention": (4,), "heads": 4, "groups": 2}
TEXT = {"token_dim": D, "vector_dim": P}
VARIANTS = {
    "cross": {},
    "feed_forward": {"feed_forward": True, "token_norm": True},
    "everywhere": {"context": (8, 4), "head_channels": 8, "num_classes": 3},
    "middle": {"context": ()},
    "transformer": {"transformer_depth": 2},
    "adm": {"scale_shift": True, "updown": True, "blocks": 2, "context": ("1/1",)},
}
KINDS = pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)


def made(size=8, **options):
    """A small network in evaluation, with weights where a new one has zeros."""
    torch.manual_seed(0)
    net = UNet(size, 1, 2, **SMALL | TEXT | options)
    with torch.no_grad():
        for part in net.modules():
            if isinstance(part, nn.Conv2d | nn.Linear) and not part.weight.any():
                part.weight.normal_(std=0.1)
                part.bias.normal_(std=0.1)
            if isinstance(part, nn.LayerNorm):
                part.bias.normal_(std=0.1)
    return net.eval()


def batch(net, n=4, seed=0):
    """x, t and a condition, the last image of which has no token that counts."""
    g = torch.Generator().manual_seed(seed)
    mask = torch.arange(L) < torch.tensor([L, 3, 1, 0])[:n, None]
    label = None if net.num_classes is None else torch.randint(net.num_classes + 1, (n,), generator=g)
    tokens, vector = torch.randn(n, L, D, generator=g), torch.randn(n, P, generator=g)
    cond = Condition(label=label, vector=vector, tokens=tokens, mask=mask)
    return torch.randn(n, 1, 8, 8, generator=g), torch.rand(n, generator=g), cond


def near(a, b, limit=1e-5):
    torch.testing.assert_close(a, b, rtol=10 * limit, atol=limit)


@KINDS
def test_a_new_network_says_nothing_and_all_its_weights_get_a_gradient_once_it_does(options):
    net = UNet(8, 1, 2, **SMALL | TEXT | options)
    assert not net(*batch(net)).any()
    net = made(**options)
    out = net(*batch(net))
    assert out.shape == (4, 2, 8, 8) and out.isfinite().all() and out.std() > 1e-3
    out.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() and p.grad.any() for p in net.parameters())


@KINDS
def test_tokens_and_vector_of_an_image_matter_to_it_alone(options):
    net = made(**options)
    x, t, cond = batch(net)
    before = net(x, t, cond)
    for name in ("tokens", "vector"):
        value = getattr(cond, name).clone()
        value[1] += 1
        after = net(x, t, replace(cond, **{name: value}))
        assert [torch.equal(a, b) for a, b in zip(before, after, strict=True)] == [True, False, True, True]
    near(net(x[1:2], t[1:2], cond[1:2]), before[1:2])


@KINDS
def test_what_is_behind_the_mask_changes_nothing_bit_for_bit(options):
    net = made(**options)
    x, t, cond = batch(net)
    for padding in (0.0, 1e4, -3e38):
        other = cond.tokens.masked_fill(~cond.mask[..., None], padding)
        assert torch.equal(net(x, t, replace(cond, tokens=other)), net(x, t, cond))


@KINDS
def test_an_image_without_tokens_that_count_sees_nothing_of_them(options):
    net = made(**options)
    x, t, cond = batch(net)
    before = net(x, t, cond)
    with torch.no_grad():
        for part in net.modules():
            if isinstance(part, SequenceAttention) and part.cross:
                part.kv.weight.zero_()
    assert torch.equal(net(x, t, cond)[3], before[3]) and not torch.equal(net(x, t, cond), before)


@KINDS
def test_longer_padding_changes_nothing(options):
    net = made(**options).double()
    x, t, cond = batch(net)
    cond = replace(cond, tokens=cond.tokens.double(), vector=cond.vector.double())
    short = net(x.double(), t, cond)
    for longer in (L + 1, 77):
        near(net(x.double(), t, cond._padded(longer)), short, 1e-12)
    whole = replace(cond, mask=None)
    near(net(x.double(), t, whole), net(x.double(), t, replace(cond, mask=torch.ones(4, L) > 0)), 1e-12)


@KINDS
def test_the_order_of_tokens_changes_nothing_where_their_mask_goes_along(options):
    net, order = made(**options), torch.tensor([3, 0, 5, 1, 4, 2])
    x, t, cond = batch(net)
    turned = replace(cond, tokens=cond.tokens[:, order], mask=cond.mask[:, order])
    near(net(x, t, turned), net(x, t, cond))
    assert not torch.allclose(
        net(x, t, replace(cond, tokens=cond.tokens[:, order])), net(x, t, cond), atol=1e-5
    )


def test_tokens_of_half_precision_are_those_of_float32_rounded():
    net = made(feed_forward=True, token_norm=True)
    x, t, cond = batch(net)
    half = replace(cond, tokens=cond.tokens.half(), vector=cond.vector.half())
    rounded = replace(cond, tokens=half.tokens.float(), vector=half.vector.float())
    assert torch.equal(net(x, t, half), net(x, t, rounded))


def test_no_tokens_at_all_are_as_good_as_none_that_count():
    net = made()
    x, t, cond = batch(net)
    none = replace(cond, tokens=cond.tokens[:, :0], mask=cond.mask[:, :0])
    near(net(x, t, none), net(x, t, replace(cond, mask=torch.zeros(4, L) > 0)))


@pytest.mark.parametrize("positions", [16, 12_000], ids=["written out", "torch's kernel"])
def test_of_a_row_without_tokens_the_projection_sees_zero(positions):
    torch.manual_seed(0)
    part, x = SequenceAttention(8, 2, D), torch.randn(1, positions, 8)
    nn.init.normal_(part.proj.bias)
    context = Context((), torch.zeros(1, L, D, requires_grad=True), torch.full((1, 1, 1, L), -1e4))
    assert torch.equal(part(x, context), x + part.proj.bias)
    part(x, context).sum().backward()
    assert context.tokens.grad.isfinite().all()


@pytest.mark.parametrize("positions", [16, 400, 12_000])
def test_attention_with_a_mask_is_that_of_torch(positions):
    g = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, 3, n, 8, generator=g) for n in (positions, L, L))
    keep = torch.rand(2, 1, 1, L, generator=g) < 0.6
    keep[..., 0] = True
    want = nn.functional.scaled_dot_product_attention(q, k, v, keep)
    near(attend(q, k, v, torch.zeros(keep.shape).masked_fill(~keep, -1e4)), want)


@pytest.mark.parametrize("options", [{}, {"feed_forward": True}])
def test_a_new_network_is_the_one_without_tokens(options):
    """All that is added begins as the identity: bit for bit, also of the weights that both have."""
    told, plain = UNet(8, 1, 2, **SMALL, **options, token_dim=D), UNet(8, 1, 2, **SMALL)
    kept = [v for k, v in told.state_dict().items() if not any(k.startswith(p) for p in added(told))]
    plain.load_state_dict(dict(zip(plain.state_dict(), kept, strict=True)))
    for net in (told, plain):
        torch.manual_seed(1)
        nn.init.normal_(net.conv_out.weight)
    x, t, cond = batch(told)
    cond = replace(cond, vector=None)
    assert torch.equal(told(x, t, cond), plain(x, t)) and plain(x, t).any()


def added(net):
    return [f"{name}." for name, part in net.named_modules() if isinstance(part, Positions)]


@KINDS
def test_what_looks_at_tokens_begins_as_the_identity(options):
    """In a spatial transformer by its last convolution alone: what is in it has a gradient at once."""
    net = UNet(8, 1, 2, **SMALL | TEXT | options)
    parts = [part for part in net.modules() if isinstance(part, Positions | SpatialTransformer)]
    for part in parts:
        layers = part if isinstance(part, Positions) else part.parts
        x = torch.randn(1, layers[0].norm.normalized_shape[0], 4, 4)
        assert torch.equal(part(x, Context((), torch.randn(1, L, D))), x)
        assert all(layer.proj.weight.any() == isinstance(part, SpatialTransformer) for layer in layers)
    assert parts


def test_a_network_without_tokens_has_the_weights_that_it_had():
    """The options of text alone change nothing: same names, order and values."""
    states = []
    for options in ({}, {"context": (8,), "token_norm": True}):
        torch.manual_seed(0)
        states.append(UNet(8, 1, 2, 3, **SMALL, **options).state_dict())
    assert list(states[0]) == list(states[1])
    assert all(torch.equal(states[1][name], value) for name, value in states[0].items())


def test_the_keys_of_text_leave_jobs_that_were_done_without_them_done():
    network = OmegaConf.to_container(composed([])[0].network)
    new = {"context", "token_norm", "feed_forward", "transformer_depth"}
    before = {key: value for key, value in network.items() if key not in new}
    assert len(before) + len(new) == len(network)
    assert identity({"network": network}) == identity({"network": before})
    assert identity({"network": network | {"feed_forward": True}}) != identity({"network": before})


@pytest.mark.parametrize(
    ("options", "own", "cross", "forward"),
    [
        ({}, 4, 4, 0),  # a block down, two up, the middle
        ({"feed_forward": True}, 4, 4, 4),
        ({"context": ()}, 4, 1, 0),
        ({"context": (8, 4)}, 4, 7, 0),
        ({"attention": (), "context": (8,), "feed_forward": True}, 1, 4, 4),
        ({"transformer_depth": 3}, 12, 12, 12),
    ],
)
def test_the_parts_stand_where_the_options_say(options, own, cross, forward):
    parts = list(UNet(8, 1, 2, **SMALL | TEXT | options).modules())
    sequences = [part for part in parts if isinstance(part, SequenceAttention)]
    assert sum(part.cross for part in sequences) == cross
    assert sum(isinstance(part, Attention) for part in parts) + len(sequences) - cross == own
    assert sum(isinstance(part, FeedForward) for part in parts) == forward


@KINDS
def test_recomputation_gives_the_same_gradients_to_the_tokens_too(options):
    grads = []
    for checkpoint in (False, True):
        net = made(**options, dropout=0.3, checkpoint=checkpoint).train()
        x, t, cond = batch(net)
        cond.tokens.requires_grad_()
        torch.manual_seed(7)
        net(x, t, cond).square().mean().backward()
        grads.append([cond.tokens.grad, *(p.grad for p in net.parameters())])
    assert grads[0][0].any()
    assert all(torch.equal(a, b) for a, b in zip(*grads, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["feed_forward", "transformer"])
def test_compiles_without_a_break(name):
    net = made(**VARIANTS[name], attention=())  # in the middle only
    torch._dynamo.reset()
    compiled = torch.compile(net, fullgraph=True, backend="eager")
    near(compiled(*batch(net)), net(*batch(net)))


@KINDS
def test_both_layouts_give_the_same_and_stay_channels_last(options):
    net, seen = made(**options), []
    for part in net.modules():
        if isinstance(part, nn.Conv2d | Positions | SpatialTransformer):
            part.register_forward_hook(lambda _m, given, out: seen.extend((given[0], out)))
    out = net(*batch(net))
    assert all(h.is_contiguous(memory_format=torch.channels_last) for h in seen if min(h.shape[1:]) > 1)
    near(made(**options).to(memory_format=torch.contiguous_format)(*batch(net)), out)


@KINDS
def test_bfloat16_is_near_float32_and_hides_the_same(options):
    net = made(**options)
    x, t, cond = batch(net)
    want = net(x, t, cond)
    with torch.autocast("cpu", torch.bfloat16):
        got = net(x, t, cond)
        loud = replace(cond, tokens=cond.tokens.masked_fill(~cond.mask[..., None], 1e4))
        assert torch.equal(net(x, t, loud), got)
    assert got.dtype == torch.bfloat16 and (got.float() - want).norm() < 0.03 * want.norm()


@KINDS
def test_a_transposed_image_gives_a_transposed_output_with_transposed_kernels(options):
    levels = {"attention": ("1/2",)} | ({"context": ("1/1",)} if options.get("context") else {})
    nets = [made(size, **options | levels) for size in ((8, 12), (12, 8))]
    state = nets[0].state_dict()
    nets[1].load_state_dict({k: v.transpose(-1, -2) if v.ndim == 4 else v for k, v in state.items()})
    t, cond = batch(nets[0])[1:]
    x = torch.randn(4, 1, 8, 12, generator=torch.Generator().manual_seed(0))
    want = nets[0](x, t, cond)
    assert want.shape == (4, 2, 8, 12) and want.std() > 1e-3
    near(nets[1](x.mT, t, cond).mT, want)


@pytest.mark.parametrize("size", [24, (16, 40), 9])
def test_a_sized_network_takes_tokens_and_a_vector(size):
    net = sized_unet(size, 3, 6, channels=8, **TEXT)
    heads = {part.heads for part in net.modules() if isinstance(part, Attention | SequenceAttention)}
    x = torch.randn(4, 3, *((size, size) if isinstance(size, int) else size))
    assert net(x, torch.rand(4), batch(net)[2]).shape == (4, 6, *x.shape[2:]) and heads == {4}
    assert {p.heads for p in sized_unet(8, 3, 6, channels=8).modules() if isinstance(p, Attention)} == {1}
    sized_unet(24, 3, 6, channels=6, groups=2, **TEXT)  # 18 channels, not divisible by 4: two heads


def test_the_unet_of_stable_diffusion_1_has_its_859_520_964_parameters():
    levels = ("1/1", "1/2", "1/4")
    with torch.device("meta"):
        net = UNet(64, 4, 4, None, 320, (1, 2, 4, 4), 2, levels, 8, transformer_depth=1, token_dim=768)
    assert sum(p.numel() for p in net.parameters()) == 859_520_964


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (
            {"tokens": None, "mask": None},
            r"takes tokens of width 12, but was given no tokens\n.*token_dim=12",
        ),
        ({"tokens": torch.zeros(4, L, 7)}, "takes tokens of width 12, but was given tokens of width 7"),
        ({"vector": None}, r"takes vector of width 5, but was given no vector\n.*vector_dim=5"),
        ({"label": torch.zeros(4).long()}, "knows no classes, but was given a label"),
    ],
)
def test_a_condition_that_it_was_not_built_for_is_refused(change, text):
    net = made()
    x, t, cond = batch(net)
    with pytest.raises(ConfigError, match=text):
        net(x, t, replace(cond, **change))
    with pytest.raises(ConfigError, match="takes no vector, but was given vector of width 5"):
        made(token_dim=None, vector_dim=None)(x, t, cond)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"context": (5,)}, r"no maps of size 5[\s\S]*network\.context"),
        ({"context": (8,), "heads": 5}, r"16 channels cannot be split with heads=5\n.*network\.heads"),
        ({"transformer_depth": -1}, r"transformer_depth=-1\n.*network\.transformer_depth"),
    ],
)
def test_refusals_name_the_key(options, text):
    with pytest.raises(ConfigError, match=text):
        UNet(8, 1, 1, **SMALL | TEXT | options)
