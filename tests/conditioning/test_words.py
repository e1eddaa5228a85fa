"""The vocabulary of words, and the small encoders that are trained along."""

import pytest
import torch

from diffexp.condition import Asked
from diffexp.conditioning import ClassText, Text, dropped
from diffexp.conditioning.encoders import Bytes, Words
from diffexp.conditioning.encoders.pieces import words_of
from diffexp.errors import ConfigError, DataError

TEXTS = ["a red three on a blue ground", "A BLUE three, on red!", "one"]


def fitted(kind=Words, seed=0, **options):
    torch.manual_seed(seed)
    made = kind(**{"width": 16, "layers": 2, "heads": 2} | options)
    made.fit(TEXTS)
    made.setup()
    return made.eval()


SPLIT = {
    "A T-shirt, red": ["a", "t", "shirt", "red"],
    "  dog's\tnose\n": ["dog", "s", "nose"],
    "": [],
    "<b>x</b>": ["<", "b", ">", "x", "<", "b", ">"],
    "赤い3": ["赤", "い", "3"],
    "हिन्दी में": ["हिन्दी", "में"],
    "كلب أحمر": ["كلب", "أحمر"],
    "ＦＵＬＬ straße": ["full", "strasse"],
    "a😀b": ["a", "😀", "b"],
    "می‌خواهم": ["میخواهم"],
    "빨간 개。": ["빨간", "개"],
    "a\x00b\u202ec": ["a", "b", "c"],
}


@pytest.mark.parametrize("text", SPLIT, ids=range(len(SPLIT)))
def test_the_words_of_any_script(text):
    assert list(words_of(text)) == SPLIT[text]


def test_the_vocabulary_is_that_of_the_captions():
    made = fitted()
    assert made.learned() == {"room": 7, "words": sorted({*TEXTS[0].split(), "one"})}
    assert fitted(least=2).learned()["words"] == ["a", "blue", "on", "red", "three"]
    assert fitted(most=1).learned()["words"] == ["a"]
    assert made.unknown(["a gren thre", "zzz", "w" * 300]) == {
        "gren": "ground", "thre": "three", "zzz": None,
        "w" * 40 + "...": None,
    }  # fmt: skip
    assert fitted(Bytes).learned() == {"room": 28}


@pytest.mark.parametrize("kind", [Words, Bytes])
def test_a_caption_comes_out_the_same_in_any_batch(kind):
    made = fitted(kind)
    together = made([*TEXTS, ""])
    for i, text in enumerate([*TEXTS, ""]):
        for one, all_ in zip(made((text,)), together, strict=True):
            assert torch.allclose(one[0], all_[i], rtol=0, atol=1e-6)
    assert not together.tokens[~together.mask].any() and together.mask.any(1).all()
    real = together.tokens[0][together.mask[0]]
    assert torch.allclose(together.vector[0], real.mean(0), atol=1e-6)


def test_padding_changes_nothing_bit_for_bit():
    """Whatever stands where the mask says that nothing is."""
    made = fitted()
    before = made(TEXTS)
    padding = torch.full_like(made.table.weight[0], 7.0)
    forward = made.table.forward
    made.table.forward = lambda ids: torch.where(before.mask[..., None], forward(ids), padding)
    after = made(TEXTS)
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_the_order_of_the_words_counts():
    made = fitted()
    a, b = made(("red on blue", "blue on red")).vector
    assert (a - b).abs().max() > 1e-3


def test_what_is_longer_is_cut_at_the_longest_of_training():
    made = fitted()
    long = made(("one " * 7, "one " * 10_000))
    assert torch.equal(long.tokens[0], long.tokens[1])
    assert made.lengths(["one " * 9]) == [9]


def test_words_of_another_run_keep_their_rows():
    a, b = fitted(), fitted(seed=1)
    b.fit([*TEXTS, "an aardvark sits on this very long caption that has many words"])
    b.setup()
    weights = b.adapted(a.state_dict(), a.learned())
    assert weights["table.weight"].shape == b.table.weight.shape
    assert torch.equal(weights["table.weight"][b.numbers["red"]], a.table.weight[a.numbers["red"]])
    assert torch.equal(weights["table.weight"][b.numbers["aardvark"]], b.table.weight[b.numbers["aardvark"]])
    assert torch.equal(weights["places"][:8], a.places) and len(weights["places"]) == len(b.places)


DAMAGED = [
    {}, {"room": 7}, {"room": 7, "words": "abc"}, {"room": 7, "words": ["a", "a"]},
    {"room": 7, "words": [""]}, {"room": 7, "words": [1]},
    {"room": True, "words": ["a"]}, {"room": 10**9, "words": ["a"]},
    {"room": 0, "words": ["a"]}, {"room": 7, "words": ["a" * 201]}, {"room": 7, "words": []},
]  # fmt: skip


@pytest.mark.parametrize("learned", DAMAGED, ids=str)
def test_a_damaged_vocabulary_is_refused(learned):
    with pytest.raises(DataError, match="what is known of the captions is damaged"):
        Text(Words()).remember(learned)


REFUSED = [
    (lambda: Words(width=10, heads=4), "width=10 and heads=4"),
    (lambda: Words(length=0), "length=0"),
    (lambda: Words(most=0), "most=0"),
    (lambda: Words(least=0), "least=0"),
    (lambda: Words(width=1 << 20), "width=1048576"),
    (lambda: Text(Words(), dropout=1), "dropout=1"),
    (lambda: ClassText(Words(), text_dropout=-1), "text_dropout=-1"),
    (lambda: Text(Words()).fit(None), "the training images have no captions"),
    (lambda: fitted(least=9), "no word of the training captions is there 9 times"),
]


@pytest.mark.parametrize(("make", "text"), REFUSED, ids=[text for _, text in REFUSED])
def test_what_cannot_be_is_refused(make, text):
    with pytest.raises(ConfigError, match=text):
        make()


# --- conditions


def conditioning(kind=Text, encoder=None, **options):
    torch.manual_seed(0)
    made = kind(encoder or Words(width=16, heads=2), **options)
    made.fit(TEXTS)
    made.setup(3)
    return made


def same(a, b, **tolerance):
    names = ("label", "vector", "tokens", "mask")
    pairs = [(getattr(a, n), getattr(b, n)) for n in names]
    assert all((x is None) == (y is None) for x, y in pairs)
    return all(torch.allclose(x.float(), y.float(), **tolerance) for x, y in pairs if x is not None)


@pytest.mark.parametrize("use", ["both", "tokens", "vector"])
@pytest.mark.parametrize("null", ["empty", "learned"])
def test_the_null_is_that_of_no_negative(use, null):
    made = conditioning(use=use, null=null)
    assert {k: v for k, v in made.network().items() if v} == {
        k: 16 for k, u in (("token_dim", "vector"), ("vector_dim", "tokens")) if use != u
    }
    asked = Asked(3, text=tuple(TEXTS))
    nothing = made.null(asked)
    assert len(nothing) == 3
    assert same(made.null(Asked(3, text=tuple(TEXTS), negative=("",) * 3)), nothing, rtol=0, atol=0)
    if null == "empty":
        assert same(made.encode(Asked(3, text=("",) * 3)), nothing, atol=1e-6)
    some = made.null(Asked(3, text=tuple(TEXTS), negative=("red", "", "blue")))
    one = made.encode(Asked(1, text=("red",)))
    row, short = some[:1], one
    if use != "vector":
        assert torch.allclose(row.tokens[row.mask], short.tokens[short.mask], atol=1e-6)
    if use != "tokens":
        assert torch.allclose(some.vector[1], nothing.vector[1], atol=1e-6)
        assert torch.allclose(row.vector, short.vector, atol=1e-6)


def test_one_prompt_repeated_is_a_batch_of_it():
    made = conditioning()
    one = made.encode(Asked(1, text=("a red one",)))
    assert same(made.encode(Asked(5, text=("a red one",) * 5)), one.expand(5), atol=1e-6)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_captions_are_dropped_as_often_as_is_said():
    made = conditioning(dropout=0.25)
    kept = made.keep(40_000, generator())
    assert abs(kept.float().mean() - 0.75) < 0.01
    assert conditioning(dropout=0).keep(3, generator()) is None and not conditioning(dropout=0).guidable
    asked = Asked(64, text=("red",) * 64)
    cond, keep = dropped(made, asked, generator()), made.keep(64, generator())
    with torch.no_grad():
        whole, nothing = made.encode(asked), made.null(asked)
    assert torch.allclose(cond.vector[keep], whole.vector[keep]) and 4 < (~keep).sum() < 30
    assert torch.allclose(cond.vector[~keep], nothing.vector[~keep])


def test_class_and_caption_are_dropped_together_and_alone():
    made = conditioning(ClassText, dropout=0.1, class_dropout=0.2, text_dropout=0.3)
    keep = made.keep(100_000, generator())
    label, text = keep["label"].float(), keep["tokens"].float()
    assert torch.equal(keep["mask"], keep["vector"]) and torch.equal(keep["mask"], keep["tokens"])
    wanted = {"label": 0.9 * 0.8, "text": 0.9 * 0.7, "both": 0.9 * 0.8 * 0.7}
    got = {"label": label.mean(), "text": text.mean(), "both": (label * text).mean()}
    assert all(abs(float(got[k]) - wanted[k]) < 0.01 for k in wanted)
    n = 400
    asked = Asked(n, torch.arange(n) % 3, ("red",) * n)
    cond, keep = dropped(made, asked, generator()), made.keep(n, generator())
    assert torch.equal(cond.label == 3, ~keep["label"])
    whole, nothing = made.encode(asked), made.null(asked)
    wanted = torch.where(keep["vector"][:, None], whole.vector, nothing.vector)
    assert torch.allclose(cond.vector, wanted, atol=1e-6)


def test_what_is_dropped_does_not_depend_on_the_ranks():
    made = conditioning(ClassText, class_dropout=0.5, text_dropout=0.5)
    asked = Asked(8, torch.arange(8) % 3, tuple(TEXTS[i % 3] for i in range(8)))
    whole = dropped(made, asked, generator())
    for rank in range(2):
        rows = torch.arange(4 * rank, 4 * rank + 4)
        part = dropped(made, asked[rows], generator(), (rank, 2))
        assert same(part, whole[rows], atol=1e-6)


@pytest.mark.parametrize(
    ("options", "guidable"),
    [({}, True), ({"dropout": 0}, False), ({"dropout": 0, "text_dropout": 0.1}, False),
     ({"dropout": 0, "text_dropout": 0.1, "class_dropout": 0.1}, True)],
)  # fmt: skip
def test_guidance_needs_both_to_be_dropped(options, guidable):
    made = conditioning(ClassText, **options)
    assert made.guidable == guidable
    assert (made.keep(4, generator()) is None) == (options == {"dropout": 0})


def test_what_a_prompt_loses_is_said():
    made = conditioning()
    said = made.remarks(Asked(2, text=("a rad " + "one " * 9, "red"), negative=("elephant", "")))
    assert said == [
        "words that the model does not know are left out: rad (nearest: red), elephant",
        "1 of 3 captions are cut: 7 words of a caption are read, and the longest has 10",
    ]
    assert made.remarks(Asked(2, text=("red", "A blue one"))) == []
