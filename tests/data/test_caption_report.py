"""The report on captions: numbers that one can count by hand."""

import pytest

from diffexp.data import Captions, Texts
from diffexp.data.caption_report import Lengths, caption_report, rows_of, scripts_of

TEXTS = Texts.of([["A red cat.", "a cat"], ["a cat"], [""], ["рыба, 魚"], ["the  Cat 🐟"]])


class Letters:
    """Reads four letters."""

    room, piece = 4, "letters"

    def lengths(self, texts):
        return [len(text) for text in texts]


def test_counts():
    report = caption_report([TEXTS])
    assert (report.images, report.captions, report.several, report.empty, report.again) == (5, 6, 1, 1, 1)
    assert report.words == Lengths(0, 2, 2.0, 3, 3) and report.letters.most == 10
    assert report.repeated == [("a cat", 2)]
    assert report.frequent[:3] == [("cat", 4), ("a", 3), ("red", 1)]
    assert report.scripts == {"Latin": 4, "Cyrillic": 1, "Han": 1, "emoji and symbols": 1}
    assert report.cut is None


def test_what_an_encoder_cuts():
    cut = caption_report([TEXTS], Letters()).cut
    assert (cut.captions, cut.room, cut.lengths.most) == (5, 4, 10)
    assert cut.lost == pytest.approx((6 + 1 + 1 + 3 + 6) / (10 + 5 + 5 + 0 + 7 + 10))
    rows = dict(rows_of(caption_report([TEXTS], Letters())))
    assert rows["captions cut at 4 letters"] == "5 of 6, 45.9 % of all letters"


def test_captions_are_counted_as_they_are_trained_on():
    texts = Texts.of([["a, b"], ["c"]], Captions(prefix="photo of "))
    report = caption_report([texts])
    assert report.frequent[:2] == [("of", 2), ("photo", 2)] and report.words.least == 3


@pytest.mark.parametrize(
    ("text", "scripts"),
    [
        ("Ωmega", {"Greek", "Latin"}),
        ("مرحبا שלום", {"Arabic", "Hebrew"}),
        ("カタ한글", {"Katakana", "Hangul"}),
        ("12 .,-+\x00\ue000", set()),
    ],
)
def test_scripts(text, scripts):
    assert scripts_of(text) == scripts


def test_long_words_are_cut_where_they_are_counted():
    report = caption_report([Texts.of([["x" * 100_000]])])
    assert report.frequent == [("x" * 40, 1)] and report.letters.most == 100_000
