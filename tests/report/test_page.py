"""Curves with their errors, and the page of one task."""

import re
from html.parser import HTMLParser

import pytest

from diffexp.report.curves import Axis, Line, curves
from diffexp.report.page import page

VOID = {"meta", "link", "path", "circle"}


class Balanced(HTMLParser):
    """The tags that are open; each must be closed in turn."""

    def __init__(self):
        super().__init__()
        self.open, self.seen = [], []

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def heights(path):
    return [float(y) for y in re.findall(r"[ML]?[\d.]+ ([\d.]+)", path)]


def test_errors_without_marks_are_a_band_around_the_curve():
    figure = curves("m", [Line("a", [(1, [1, 2, 3]), (2, [3, 4, 5])])], "t", marks=False)
    (band,), (line,) = (re.findall(rf"<path {mark}d='(M[^'H]*)'", figure) for mark in ("class=band ", ""))
    upper, lower = heights(band)[:2], heights(band)[:1:-1]
    middle = heights(line)
    assert all(high < mean < low for high, mean, low in zip(upper, middle, lower, strict=True))
    assert band.endswith("Z") and "<circle" not in figure
    assert "band" not in curves("m", [Line("a", [(1, [2.0]), (2, [4.0])])], "t", marks=False)


def test_an_error_larger_than_its_mean_leaves_the_axis_logarithmic():
    points = [(1, [0.9, 1.0, 1.1]), (2, [-0.01, 0.01, 0.03])]
    figure = curves("m", [Line("a", points)], "t", marks=False)
    assert ">0.1</text>" in figure and ">0.01</text>" in figure  # ticks at powers of ten
    (band,) = re.findall(r"class=band d='(.*?)'", figure)
    assert max(heights(band)) <= 360 - 44  # within the frame


def test_a_page_names_what_was_measured_and_is_whole():
    rows = [[0.5, 1.25], [1.0, None]]
    made = page(
        "a <title>", {"data": "digits & co"}, (["mean"], [["2.5"]]), "<figure></figure>", (["t", "m"], rows)
    )
    assert "<title>a &lt;title&gt;</title>" in made and "<h1>a &lt;title&gt;</h1>" in made
    assert "<dt>data</dt><dd>digits &amp; co</dd>" in made and "<td>2.5</td>" in made
    assert "<data value='1.25'>1.25</data>" in made and "<td></td>" in made
    assert "http" not in made  # it needs no other file
    parser = Balanced()
    parser.feed(made)
    assert parser.open == [] and parser.seen.count("tr") == 5 and parser.seen.count("figure") == 1


def test_values_that_are_near_have_marks():
    """A logarithmic axis from 0.984 to 1 would have one."""
    assert list(Axis([10, 100], 0, 1).ticks()) == [10, 20, 50, 100]
    assert list(Axis([0.984, 1.0], 0, 1).ticks()) == pytest.approx([0.984 + 0.002 * i for i in range(9)])
