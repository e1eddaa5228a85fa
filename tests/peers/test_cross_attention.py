"""Our attention blocks beside diffusers', with the same weights, in float64."""

import pytest
import torch
from torch import nn

from diffexp.condition import Condition
from diffexp.networks import UNet
from diffexp.networks.blocks import Attention, Context, ResidualBlock
from diffexp.networks.transformer import (
    FeedForward,
    Positions,
    SequenceAttention,
    SpatialTransformer,
    over_positions,
)

diffusers = pytest.importorskip("diffusers")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

C, HEADS, DIM, GROUPS = 32, 4, 12, 2
MASK = torch.tensor([[True] * 5, [True] * 2 + [False] * 3])


def randomised(module):
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in module.parameters():
            p.copy_(0.3 * torch.randn(p.shape, generator=generator))
    return module.double().eval()


def transformer_block(**options):
    from diffusers.models.attention import BasicTransformerBlock

    return randomised(BasicTransformerBlock(C, HEADS, C // HEADS, cross_attention_dim=DIM, **options))


def copied(ours, theirs):
    """Ours with the weights of theirs; both a list of parts in the same order, theirs (norm, layer)."""
    for part, (norm, layer) in zip(ours, theirs, strict=True):
        state = {"norm." + name: value for name, value in norm.state_dict().items()}
        if isinstance(part, FeedForward):
            into, last = layer.net[0].proj, layer.net[2]
            state |= {"into.weight": into.weight, "into.bias": into.bias}
        else:
            last = layer.to_out[0]
            state |= {
                "q.weight": layer.to_q.weight, "kv.weight": torch.cat([layer.to_k.weight, layer.to_v.weight]),
            }  # fmt: skip
        part.double().load_state_dict(state | {"proj.weight": last.weight, "proj.bias": last.bias})


def parts_of(block, forward=True):
    pairs = [(block.norm1, block.attn1), (block.norm2, block.attn2), (block.norm3, block.ff)]
    parts = [SequenceAttention(C, HEADS), SequenceAttention(C, HEADS, DIM), FeedForward(C)]
    count = 3 if forward else 2
    copied(parts[:count], pairs[:count])
    return parts[:count]


def inputs():
    g = torch.Generator().manual_seed(1)
    x = torch.randn(2, C, 3, 4, generator=g).double().to(memory_format=torch.channels_last)
    tokens = torch.randn(2, 5, DIM, generator=g).double()
    added = torch.zeros(2, 1, 1, 5).double().masked_fill(~MASK[:, None, None], -1e4)
    return x, Context((), tokens, added)


def same(ours, theirs):
    assert theirs.std() > 0.1
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)


@pytest.mark.parametrize("forward", [True, False], ids=["with GEGLU", "without"])
def test_a_block_is_their_basic_transformer_block(forward):
    block, (x, context) = transformer_block(), inputs()
    if not forward:
        block.ff.net[2].weight.data.zero_(), block.ff.net[2].bias.data.zero_()
    ours = over_positions(parts_of(block, forward), x, context)
    h = x.flatten(2).transpose(1, 2)
    theirs = block(h, encoder_hidden_states=context.tokens, encoder_attention_mask=context.mask[:, 0])
    same(ours, theirs.transpose(1, 2).reshape(x.shape))


class OverGroups(nn.Module):
    """The normalisation of our self-attention in the place of theirs."""

    def __init__(self, norm):
        super().__init__()
        self.norm = norm

    def forward(self, h):
        return self.norm(h.mT.unflatten(2, (3, 4))).flatten(2).mT


def test_the_block_of_the_unet_is_theirs_but_for_the_norm_over_groups():
    block, (x, context) = transformer_block(attention_bias=True), inputs()
    attention, parts = randomised(Attention(C, GROUPS, HEADS)), Positions(parts_of(without_bias(block))[1:])
    own = block.attn1
    pieces = zip((own.to_q, own.to_k, own.to_v), attention.qkv.weight.flatten(1).chunk(3),
                 attention.qkv.bias.chunk(3), strict=True)  # fmt: skip
    for layer, weight, bias in pieces:
        layer.weight.data, layer.bias.data = weight.data, bias.data
    own.to_out[0].weight.data, own.to_out[0].bias.data = attention.proj.weight.flatten(1), attention.proj.bias
    block.norm1 = OverGroups(attention.norm)
    ours = parts(attention(x, context), context)
    h = x.flatten(2).transpose(1, 2)
    theirs = block(h, encoder_hidden_states=context.tokens, encoder_attention_mask=context.mask[:, 0])
    same(ours, theirs.transpose(1, 2).reshape(x.shape))


def without_bias(block):
    for layer in (block.attn2.to_q, block.attn2.to_k, block.attn2.to_v):
        layer.bias.data.zero_()
    return block


def copy_transformer(ours, theirs):
    ours.norm.load_state_dict(theirs.norm.state_dict())
    for mine, yours in ((ours.into, theirs.proj_in), (ours.out, theirs.proj_out)):
        mine.load_state_dict(yours.state_dict())
    pairs = [
        pair
        for block in theirs.transformer_blocks
        for pair in ((block.norm1, block.attn1), (block.norm2, block.attn2), (block.norm3, block.ff))
    ]
    copied(ours.parts, pairs)


@pytest.mark.parametrize("depth", [1, 2])
def test_the_spatial_transformer_is_theirs(depth):
    from diffusers import Transformer2DModel

    options = {"num_layers": depth, "norm_num_groups": GROUPS, "cross_attention_dim": DIM}
    theirs, (x, context) = randomised(Transformer2DModel(HEADS, C // HEADS, C, **options)), inputs()
    parts = [p for _ in range(depth) for p in (
        SequenceAttention(C, HEADS), SequenceAttention(C, HEADS, DIM), FeedForward(C))]  # fmt: skip
    ours = SpatialTransformer(C, GROUPS, parts).double()
    copy_transformer(ours, theirs)
    want = theirs(x, encoder_hidden_states=context.tokens, encoder_attention_mask=MASK.double()).sample
    same(ours(x, context), want)


def their_unet():
    from diffusers import UNet2DConditionModel

    return randomised(UNet2DConditionModel(
        sample_size=8, in_channels=4, out_channels=4, block_out_channels=(C, 2 * C), layers_per_block=2,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), cross_attention_dim=DIM,
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"), attention_head_dim=HEADS, norm_num_groups=GROUPS,
        flip_sin_to_cos=False, freq_shift=1,
    ))  # fmt: skip


def in_order(net):
    """Their residual blocks, spatial transformers and resampling convolutions, as x passes them."""
    resnets, attentions, resampling = [], [], []
    for block in (*net.down_blocks, net.mid_block, *net.up_blocks):
        resnets += block.resnets
        attentions += getattr(block, "attentions", [])
        for layer in (*(getattr(block, "downsamplers", 0) or ()), *(getattr(block, "upsamplers", 0) or ())):
            resampling.append(layer.conv)
    return resnets, attentions, resampling


def copy_unet(ours, theirs):
    resnets, attentions, resampling = in_order(theirs)
    for mine, yours in ((ours.conv_in, theirs.conv_in), (ours.conv_out, theirs.conv_out),
                        (ours.norm, theirs.conv_norm_out),
                        (ours.embedding.time1, theirs.time_embedding.linear_1),
                        (ours.embedding.time2, theirs.time_embedding.linear_2)):  # fmt: skip
        mine.load_state_dict(yours.state_dict())
    parts = list(ours.modules())
    for mine, yours in zip((p for p in parts if isinstance(p, ResidualBlock)), resnets, strict=True):
        for name in ("norm1", "conv1", "norm2", "conv2"):
            getattr(mine, name).load_state_dict(getattr(yours, name).state_dict())
        if yours.conv_shortcut is not None:
            mine.skip.load_state_dict(yours.conv_shortcut.state_dict())
    for mine, yours in zip((p for p in parts if isinstance(p, SpatialTransformer)), attentions, strict=True):
        copy_transformer(mine, yours)
    convs = (p.conv for p in parts if type(p).__name__ in {"Downsample", "Upsample"})
    for mine, yours in zip(convs, resampling, strict=True):
        mine.load_state_dict(yours.state_dict())
    tells = [resnet.time_emb_proj for resnet in resnets]
    ours.embedding.tell.weight.data = torch.cat([tell.weight for tell in tells])
    ours.embedding.tell.bias.data = torch.cat([tell.bias for tell in tells])


def test_the_unet_of_stable_diffusion_is_theirs():
    theirs = their_unet()
    ours = UNet(
        8, 4, 4, None, C, (1, 2), 2, ("1/1",), HEADS, groups=GROUPS, transformer_depth=1, token_dim=DIM
    ).double().eval()  # fmt: skip
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in theirs.parameters())
    copy_unet(ours, theirs)
    x = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(2)).double()
    t, tokens = torch.tensor([0.2, 0.7]), inputs()[1].tokens
    want = theirs(x, 1000 * t, encoder_hidden_states=tokens, encoder_attention_mask=MASK).sample
    assert want.std() > 0.1
    # the sines of the time are float32 in both
    torch.testing.assert_close(ours(x, t, Condition(tokens=tokens, mask=MASK)), want, rtol=1e-5, atol=1e-5)
