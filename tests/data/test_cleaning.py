"""Rules that clean captions: what each takes away, and what it leaves."""

import builtins
import time

import pytest

from diffexp.data import Captions, Texts
from diffexp.data.cleaning import RULES, cleaned
from diffexp.errors import ConfigError

CASES = [
    ("ftfy", "schÃ¶n, itâ€™s", "schön, it's"),
    (
        "html",
        "a <b>red</b>,<br/>big &lt;three&gt; &amp; <3 <!-- x -->a < b",
        "a red, big <three> & <3  a < b",
    ),
    ("html", "<a href='x>y'>", "y'>"),
    ("urls", "see https://x.org/a?b=1 or WWW.x.org now", "see  or  now"),
    ("control", "a\x00b\x1b[31mred\u202eder\u200b\x85x\ufeff\ud800", "ab[31mredder x"),
    ("control", "one\ntwo\t👩‍👩‍👧 می‌خواهم שלום", "one\ntwo\t👩‍👩‍👧 می‌خواهم שלום"),
    ("whitespace", "  a\u3000 b\n\n\xa0c\u2028d ", "a b c d"),
]


@pytest.mark.parametrize(("rule", "text", "clean"), CASES)
def test_each_rule_does_what_it_says(rule, text, clean):
    assert RULES[rule](text) == clean
    assert cleaned(text, ()) == text


def test_rules_are_applied_in_their_own_order():
    text = " <p>see&#32;http://x.y\x07 &lt;it&gt; "
    assert cleaned(text, ("whitespace", "control", "urls", "html", "ftfy")) == "see <it>"
    assert cleaned(text, ("whitespace",)) == "<p>see&#32;http://x.y\x07 &lt;it&gt;"


def test_what_a_caption_is_cleaned_to_is_the_caption():
    texts = Texts.of([[" <i> a </i>", "&nbsp;", "b"], ["<br>"]], Captions(clean=("html", "whitespace")))
    assert [texts[i] for i in range(2)] == [("a", "b"), ("",)]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("piece", ["<a", "&", "http://", "\x00", " ", "<!--", "é", "😀", "Ã¶"])
def test_a_long_caption_of_a_stranger_takes_no_time(rule, piece):
    text = piece * (100_000 // len(piece))
    start = time.process_time()
    RULES[rule](text)
    assert time.process_time() - start < 1


def test_ftfy_that_is_not_installed_is_one_clear_line(monkeypatch):
    real = builtins.__import__

    def without(name, *args, **options):
        if name == "ftfy":
            raise ImportError(name)
        return real(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    options = Captions(clean=("ftfy",))  # to build it needs nothing: a run may be sampled without its data
    with pytest.raises(ConfigError) as error:
        Texts.of([["a"]], options)
    assert error.value.do == "pip install 'diffexp[text]'" and error.value.where == "data.caption.clean"
    assert Texts.of([["a"]], Captions(clean=("html",))).first == ["a"]
