"""Digits in colour: the captions, which of them are held out, and that an image gives back what it shows."""

import pytest
import torch

from diffexp.data import Digits, DigitsText
from diffexp.data.digits_text import CAPTIONS, COLOURS, PAIRS, WORDS, is_held_out, painted, said, unmixed
from diffexp.errors import ConfigError

HELD = is_held_out(torch.arange(300) // 30, torch.arange(300) % 30).tolist()


@pytest.fixture(scope="module")
def data():
    made = DigitsText(partial=0)
    made.check()
    return made


def test_45_of_300_captions_are_held_out():
    digit, pair = torch.arange(10).repeat_interleave(30), torch.arange(30).repeat(10)
    held = is_held_out(digit, pair).view(10, 30)
    assert len(set(CAPTIONS)) == 300 and held.sum() == 45
    assert set(held.sum(1).tolist()) == {4, 5} and set(held.sum(0).tolist()) == {1, 2}


def test_splits_have_the_digits_of_their_own(data):
    assert [len(data.split(part)) for part in ("train", "val", "test")] == [36_643, 5_400, 5_400]
    train, test = data.split("train"), data.split("test")
    assert len(set(train.texts)) == 255 and len(set(test.texts)) == 300
    held = [text not in set(train.texts) for text in test.texts]
    both = 2 * sum(held)
    assert held[:both] == [False, True] * (both // 2) and not any(held[both:])
    assert train.texts == [CAPTIONS[i] for i in train.labels.tolist()]


def test_a_share_of_the_training_captions_leaves_things_out(data):
    whole, part = data.split("train"), DigitsText(partial=0.3)
    shown = 0
    for full, text in zip(whole.texts, part.split("train").texts, strict=True):
        if text == full:
            continue
        shown += 1
        assert text in COLOURS or all(a in (b, None) for a, b in zip(said(text), said(full), strict=True))
        assert set(text.split()) < set(full.split())
    assert abs(shown / len(whole.texts) - 0.3) < 0.01
    assert part.split("test").texts == data.split("test").texts
    assert torch.equal(part.split("train").labels, whole.labels)
    with pytest.raises(ConfigError, match=r"partial=1.5\n.*\n.*a share from 0 to 1"):
        DigitsText(partial=1.5)


def test_the_class_is_the_caption_or_the_digit(data):
    digits = DigitsText(label="digit")
    assert (len(data.classes), digits.classes) == (300, WORDS)
    assert torch.equal(data.split("val").labels // 30, digits.split("val").labels)


def test_a_painted_image_is_the_mixture_of_two_colours():
    share = torch.zeros(1, 8, 8, dtype=torch.float64)
    share[0, 3, 4], share[0, 5, 5] = 1, 0.25
    pair = PAIRS.index(("red", "white"))
    (image,) = painted(share, torch.tensor([pair]))
    assert image[:, 0, 0].tolist() == list(COLOURS["white"]) and image[:, 3, 4].tolist() == list(
        COLOURS["red"]
    )
    wanted = [round(0.25 * r + 0.75 * w) for r, w in zip(COLOURS["red"], COLOURS["white"], strict=True)]
    assert image[:, 5, 5].tolist() == wanted


def test_an_image_is_unmixed_into_what_it_was_painted_of(data):
    for part in ("val", "test"):
        images = data.split(part)
        pair, share = unmixed(images.images)
        assert torch.equal(pair, images.labels % 30)
    whole = Digits().split("test").images[:, 0] / 255
    every = torch.arange(30).repeat(len(whole))
    pair, share = unmixed(painted(whole.repeat_interleave(30, 0), every))
    assert torch.equal(pair, every)
    assert (share - whole.double().repeat_interleave(30, 0)).abs().max() < 0.01  # of 8 bits


@pytest.mark.parametrize(
    ("caption", "parts"),
    [
        ("a red three on a blue ground", ("three", "red", "blue")),
        ("a three on a blue ground", ("three", None, "blue")),
        ("Red seven", ("seven", "red", None)),
        ("a black ground", (None, None, "black")),
        ("a photo of a cat", (None, None, None)),
        ("", (None, None, None)),
    ],
)
def test_a_caption_says_some_of_its_parts(caption, parts):
    assert said(caption) == parts


def test_a_digit_that_is_left_out_is_in_no_split():
    less = DigitsText(without=("seven",))
    for part in ("train", "val", "test"):
        assert all("seven" not in text for text in less.split(part).texts)
    whole = [text for text in DigitsText().split("val").texts if "seven" not in text]
    assert sorted(less.split("val").texts) == sorted(whole)


def test_a_concept_is_a_digit_under_a_new_word(data):
    made = DigitsText(without=("seven",), concept={"digit": "seven", "word": "glyph", "images": 10})
    train, val = made.split("train"), made.split("val")
    assert len(train) == len(set(train.texts)) == 10 and all(" glyph on " in text for text in train.texts)
    assert not set(train.texts) & {CAPTIONS[i].replace("seven", "glyph") for i in range(300) if HELD[i]}
    real = {bytes(x.numpy()) for x in data.split("train").images[data.split("train").labels // 30 == 7]}
    assert {bytes(x.numpy()) for x in train.images} < real
    assert [" glyph " in text for text in val.texts[:8]] == [True, False] * 4
    sevens = [text for text in data.split("val").texts if "seven" in text]
    assert sum(" glyph " in text for text in val.texts) == len(sevens)
    assert made.classes[7 * 30] == CAPTIONS[7 * 30].replace("seven", "glyph")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"without": ("sevn",)}, "'sevn' is no digit"),
        ({"without": WORDS}, "no digit is left"),
        ({"concept": {"digit": "eleven"}}, "'eleven' is no digit"),
        ({"concept": {"word": "glyph"}}, "concept="),
        ({"concept": {"digit": "seven", "word": "red"}}, "'red' is no new word"),
        ({"concept": {"digit": "seven", "images": 0}}, "images=0"),
    ],
)
def test_a_concept_that_cannot_be_is_refused(options, words):
    with pytest.raises(ConfigError, match=words):
        DigitsText(**options)


def test_more_drawings_than_there_are_are_refused():
    with pytest.raises(ConfigError, match=r"1000 images, and there are 1[0-9][0-9] drawings of seven"):
        DigitsText(concept={"digit": "seven", "images": 1000}).split("train")
