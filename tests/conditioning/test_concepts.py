"""Words that text encoders learn later."""

import pytest
import torch
from captioned import KINDS
from torch import nn

from diffexp.conditioning.encoders import Bytes, Pretrained
from diffexp.conditioning.encoders.concepts import Concepts


def test_words_are_found_whole_and_in_any_case():
    concepts = Concepts()
    for word, n in (("thing", 1), ("<x>", 2), ("thing-2", 1)):
        concepts.add(word, torch.zeros(n, 4))
    assert [*concepts.parts("A Thing, things a<x>b")] == [
        "A ", range(0, 1), ", things a", range(1, 3), "b",
    ]  # fmt: skip
    assert [*concepts.parts("no")] == ["no"] and concepts.within("<X>") and not concepts.within("something")
    assert concepts.plain("<x>red") == ["", "red"] and len(concepts) == 4


def test_bytes_learn_a_word_too():
    made = Bytes(8, 1, 1)
    made.fit(["a red three"])
    made.setup()
    before = made(["a red"])
    made.concepts.add("<thing>", torch.randn(2, 8), tuned=True)
    assert made.numbers_of("é<thing>") == [1 + 0xC3, 1 + 0xA9, 257, 258]
    assert made.lengths(["é<thing>"]) == [4] and made.ids("ab") == [97, 98]
    assert all(torch.equal(a, b) for a, b in zip(before, made(["a red"]), strict=True))
    made(["<thing>"]).vector.sum().backward()
    assert made.concepts.tuned.grad.abs().sum() > 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layer", [-1, -2])
def test_an_encoder_of_transformers_reads_the_vectors_in_their_places(folders, tmp_path, kind, layer):
    """With those of known words it reads the new one as these."""
    encoder = Pretrained(str(folders / kind), layer, cache=str(tmp_path))
    encoder.setup()
    encoder.load()
    known = ["a red three", "a blue three on red", ""]
    before = encoder(known)
    rows = encoder.ids("blue three")
    encoder.concepts.add("<thing>", encoder.embeddings()[rows].clone(), tuned=True)
    kept = len(list(tmp_path.rglob("*.npy"))) or sum(f.stat().st_size for f in tmp_path.rglob("*"))
    made = encoder(["a red three", "a <THING> on red", ""])
    after = len(list(tmp_path.rglob("*.npy"))) or sum(f.stat().st_size for f in tmp_path.rglob("*"))
    assert kept == after
    for a, b in zip(before, made, strict=True):
        assert torch.allclose(a, b, atol=1e-6)
    assert encoder.lengths(["a <thing> on red"]) == encoder.lengths(["a blue three on red"])
    made.tokens.square().sum().backward()
    assert encoder.concepts.tuned.grad.shape == (2, 32) and encoder.concepts.tuned.grad.abs().min() > 0
    assert not any(p.requires_grad for p in encoder.frozen.net.parameters())
    encoder.concepts.tuned = nn.Parameter(torch.randn(2, 32))
    again = encoder(["a red three", "a <thing> on red", ""])
    assert torch.equal(again.tokens[0], made.tokens[0])
    assert (again.tokens[1] - made.tokens[1]).abs().max() > 1e-3


def test_an_encoder_of_transformers_knows_its_own_words(folders):
    encoder = Pretrained(str(folders / "bert"), cache=None)
    encoder.setup()
    assert encoder.ids("red zebra blue") == [5, 6] and encoder.embeddings() is None
    assert encoder.learned() == {} and encoder.width == 32
