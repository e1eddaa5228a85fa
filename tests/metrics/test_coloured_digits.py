"""The judge of digits in colour, on real images whose captions are right, exchanged, or say less."""

import pytest
import torch

from diffexp.data import Digits, DigitsText, Mix
from diffexp.data.batch import Batch
from diffexp.errors import ConfigError
from diffexp.metrics import ColouredDigits
from diffexp.metrics.coloured_digits import HELD_OUT


@pytest.fixture(scope="module")
def data():
    return DigitsText()


@pytest.fixture(scope="module")
def judge(data):
    made = ColouredDigits()
    made.prepare(data, None, 100)
    return made


def judged(judge, batch):
    judge.reset()
    judge.update(batch, None)
    return judge.compute()


def some(data, n=600):
    return data.split("test").batch(torch.arange(n))


def exchanged(caption):
    _, ink, digit, _, _, ground, _ = caption.split()
    return f"a {ground} {digit} on a {ink} ground"


def test_real_images_are_right(data, judge):
    values = judged(judge, some(data))
    for end in ("", "_held_out"):
        assert values["right_ink" + end] == values["right_ground" + end] == 1 and values["swapped" + end] == 0
        assert values["right" + end] == values["right_digit" + end] > 0.98
    card = judge.card()
    assert (card["n"], card["n_held_out"]) == (600, 300) and card["right_real_test"] > 0.98
    p = values["right"]
    assert card["standard_errors"]["right"] == pytest.approx((p * (1 - p) / 300) ** 0.5)
    assert sum(card["inks"].values()) == pytest.approx(1, abs=1e-3)


def test_exchanged_colours_are_swaps(data, judge):
    batch = some(data)
    values = judged(judge, batch._replace(text=[exchanged(text) for text in batch.text]))
    assert values["swapped"] == 1 and values["right_ink"] == values["right_ground"] == values["right"] == 0
    assert values["right_digit"] > 0.98


def test_what_a_caption_does_not_say_is_not_judged(data, judge):
    batch = some(data)
    values = judged(judge, batch._replace(text=[f"a {text.split()[2]}" for text in batch.text]))
    assert set(values) == {"right_digit", "right"}
    assert judged(judge, batch._replace(text=["an apple"] * 600)) == {}


def test_a_class_is_its_caption(data, judge):
    batch = some(data)
    assert judged(judge, batch._replace(text=None)) == judged(judge, batch)
    assert judged(judge, batch._replace(text=None, label=None)) == {}


def test_noise_is_seldom_right(data, judge):
    images = torch.randint(
        0, 256, (600, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    assert judged(judge, Batch(images, None, some(data).text, torch.arange(600)))["right"] < 0.05


def test_batches_change_nothing(data, judge):
    whole = judged(judge, some(data, 90))
    judge.reset()
    for index in torch.arange(90).split(40):
        judge.update(data.split("test").batch(index), None)
    assert judge.compute() == whole


def test_held_out_captions_are_those_that_training_has_not(data):
    assert len(HELD_OUT) == 45 and HELD_OUT.isdisjoint(data.split("train").texts)


def test_other_data_is_refused():
    with pytest.raises(
        ConfigError, match="this judge knows the captions of data=digits_text, and digits has"
    ):
        ColouredDigits().check(Digits(), None)


def test_a_digit_under_a_new_word_is_judged_apart():
    data = DigitsText(concept={"digit": "seven", "word": "glyph"})
    made = ColouredDigits()
    made.prepare(Mix({"a": data, "b": data}, val="a"), None, 100)
    batch = data.split("test").batch(torch.arange(600))
    values = judged(made, batch)
    assert made.card()["n_concept"] == 300 and made.card()["n"] == 600
    assert values["right_concept"] > 0.98 and values["right_ink_concept"] == 1
    other = [text.replace("glyph", "three") for text in batch.text]
    assert "right_concept" not in judged(made, batch._replace(text=other))
    swapped = judged(made, batch._replace(text=[t.replace("nine", "glyph") for t in batch.text]))
    assert swapped["right_digit_concept"] < 0.95


def test_a_mixture_is_judged_by_the_part_that_is_shown():
    text, grey = DigitsText(), Digits()
    ColouredDigits().check(Mix({"a": text, "b": grey}, val="a"), None)
    with pytest.raises(ConfigError, match="mix_a_b has others"):
        ColouredDigits().check(Mix({"a": text, "b": grey}), None)
