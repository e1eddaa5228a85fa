"""Frozen encoders of transformers against direct calls, with small random weights, and their cache."""

import json

import pytest
import torch
from captioned import KINDS, model, tokenizer

from diffexp.conditioning.encoders import Pretrained
from diffexp.errors import ConfigError, DataError

TEXTS = ("a red three on blue", "", "red", "a red three on blue")


def encoder(folder, **options):
    made = Pretrained(str(folder), **{"cache": None} | options)
    made.setup()
    made.load()
    return made


@pytest.mark.parametrize("layer", [-1, -2])
@pytest.mark.parametrize("norm", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_it_equals_a_direct_call(folders, kind, layer, norm):
    net, words = model(kind).eval(), tokenizer(kind != "t5")
    read = words(list(TEXTS), padding="max_length" if kind == "clip" else True, return_tensors="pt")
    mask = None if kind == "clip" else read["attention_mask"]
    seen = []
    final = {"clip": "final_layer_norm", "t5": "encoder.final_layer_norm"}.get(kind)
    if final:
        net.get_submodule(final).register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    with torch.no_grad():
        out = net(input_ids=read["input_ids"], attention_mask=mask, output_hidden_states=True)
        wanted = out.hidden_states[-2] if layer == -2 else seen[0] if final else out.last_hidden_state
        wanted = net.get_submodule(final)(wanted) if norm and final else wanted
    tokens, mask, vector = encoder(folders / kind, layer=layer, norm=norm)(TEXTS)
    real = torch.ones_like(mask) if kind == "clip" else read["attention_mask"].bool()
    assert torch.equal(mask, real) and (tokens[real] - wanted[real]).abs().max() < 1e-6
    assert not tokens[~real].any()
    weight = real[..., None].float()
    mean = (wanted * weight).sum(1) / weight.sum(1)
    pooled = out.pooler_output if kind == "clip" else mean
    assert (vector - pooled).abs().max() < 1e-6


@pytest.mark.parametrize("kind", KINDS)
def test_cached_equals_fresh_and_needs_no_weights(folders, kind, tmp_path, monkeypatch):
    fresh = encoder(folders / kind)(TEXTS)
    first = encoder(folders / kind, cache=str(tmp_path))
    first(TEXTS[:1])
    both, again = first(TEXTS), encoder(folders / kind, cache=str(tmp_path))
    monkeypatch.setattr("diffexp.conditioning.encoders.frozen.Frozen.net", None)
    for one in (both, again(TEXTS)):
        assert all(torch.allclose(a, b, rtol=0, atol=1e-6) for a, b in zip(one, fresh, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(both, again(TEXTS), strict=True))
    assert not torch.equal(again(("red",)).tokens, again(("",)).tokens)


def test_a_cache_that_was_cut_or_damaged_is_made_again(folders, tmp_path):
    made = encoder(folders / "t5", cache=str(tmp_path))
    wanted = made(TEXTS)
    (index,), (rows,) = tmp_path.rglob("rows.index"), tmp_path.rglob("rows.bin")
    assert index.stat().st_size == 3 * 48
    index.write_bytes(index.read_bytes()[:-7])  # the power failed in the middle of a line
    content = bytearray(rows.read_bytes())
    content[5] ^= 1
    rows.write_bytes(content)
    for _ in range(2):
        again = encoder(folders / "t5", cache=str(tmp_path))(TEXTS)
        assert all(torch.allclose(a, b, rtol=0, atol=1e-6) for a, b in zip(again, wanted, strict=True))
    assert index.stat().st_size == 4 * 48
    assert rows.stat().st_size > len(content)


def test_a_cache_that_cannot_be_written_costs_time_alone(folders, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    made = encoder(folders / "t5", cache=str(tmp_path / "file"))
    assert made(("red",)).tokens.shape == (1, 2, 32)
    assert "encoded captions are not kept in" in capsys.readouterr().err
    full = encoder(folders / "t5", cache=str(tmp_path / "full"), cache_gb=0)
    assert torch.equal(full(("red",)).tokens, made(("red",)).tokens)


def test_what_is_longer_is_cut_and_counted(folders):
    made = encoder(folders / "bert", length=5)
    assert made.room == 5 and made.lengths(["red", "a red three on blue"]) == [3, 7]
    long = made(("a red three on blue", "a red three"))
    assert long.mask.all() and torch.allclose(long.tokens[0], long.tokens[1], atol=1e-6)


def test_kept_in_fewer_bits_is_the_same_fresh_and_cached(folders, tmp_path):
    options = {"dtype": "bfloat16"}
    fresh, kept = (encoder(folders / "t5", cache=c, **options) for c in (None, str(tmp_path)))
    assert torch.equal(kept(TEXTS).tokens, kept(TEXTS).tokens) and kept(TEXTS).tokens.dtype == torch.float32
    assert (fresh(TEXTS).tokens - kept(TEXTS).tokens).abs().max() <= 0.02


REFUSED = {
    "names code": {"auto_map": {"AutoModel": "theirs.Model"}},
    "layers": {"num_layers": 20_000},
}


@pytest.mark.parametrize("why", REFUSED)
def test_a_folder_of_a_stranger_is_refused(folders, tmp_path, why):
    for file in (folders / "t5").iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | REFUSED[why]))
    with pytest.raises(DataError):
        encoder(tmp_path)


def test_what_is_no_encoder_is_refused(tmp_path, folders):
    with pytest.raises(DataError, match="not a folder of a text encoder"):
        encoder(tmp_path)
    with pytest.raises(DataError, match="of a model of 3 layers"):
        encoder(folders / "t5", layer=-4)
    with pytest.raises(ConfigError, match="count from the end"):
        Pretrained("x", layer=1)
