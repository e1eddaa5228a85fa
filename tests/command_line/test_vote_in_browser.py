"""A vote in a real browser, from click to table. Needs chromium and chromedriver, of the system."""

import json

import pytest
from browser import CHROMIUM, DRIVER, browser, downloaded
from test_vote import count, paint, vote

from diffexp.comparison import ballot
from diffexp.comparison.answers import seen

pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="no chromium and chromedriver")
PROMPT = "<b onclick=alert(1)>three</b>"


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    root = tmp_path_factory.mktemp("two")
    runs = [paint(root / name, bright=5 * k, n=4, prompts=[PROMPT]) for k, name in enumerate("ab")]
    vote(root / "vote", *runs, n=4, checks=2)
    return root / "vote"


def arranged(view, of):
    """The questions in the order, and on the sides, that this voter sees."""
    by_id = {q.id: q for q in of.questions}
    told = view.run("return all.map(q => [q.id, q.turned])")
    return [seen(by_id[name], {name} if turned else ()) for name, turned in told]


def test_from_click_to_table(two, tmp_path):
    of, page = ballot.load(two), two / "vote.html"
    with browser(tmp_path) as view:
        view.open(page)
        asked = arranged(view, of)
        sides = [("left", "right")[q.shown.index(1)] if not q.check else "down" for q in asked]
        assert view.text("#prompt") == PROMPT and view.text("#count") == "1 of 6"
        view.click(f"#{sides[0]}" if sides[0] != "down" else "#tie")
        view.press(sides[1] if sides[1] != "down" else "space")
        view.press({"left": "right", "right": "left", "down": "left"}[sides[2]])  # a mistake
        assert view.text("#count") == "4 of 6"
        view.press("up")
        assert view.run("return document.querySelector('[aria-pressed=true]').id") != sides[2]
        assert view.run("return document.querySelector('#images img').classList.contains('small')")
        loaded = view.run("return performance.getEntriesByType('resource').map(e => e.name)")
        assert [name for name in loaded if not name.startswith(("data:", "file:"))] == []
        assert view.complaints() == []
    with browser(tmp_path) as view:  # closed in the middle, and opened again
        view.open(page)
        assert view.text("#count") == "4 of 6" and arranged(view, of) == asked
        view.press("up", sides[2])
        view.press(*sides[3:])
        assert "last one" in view.text("#thanks")
        view.press("left", "down")
        view.type("#name", "Ann <b>")
        view.click("#save")
        file = downloaded(tmp_path)
        assert view.text("#saved") == "6 answers saved as answers_Ann_b_.json" and view.complaints() == []
    told = json.loads(file.read_text())
    assert told["page"] == of.page and told["voter"] == "Ann <b>"
    assert told["order"] == [q.id for q in asked] and len(told["turned"]) == 3
    found = count(tmp_path / "of", two, str(file))
    assert found["win_rate/b"] == 1 and found["answers"] == 4 and found["failed_checks"] == 0
    assert "Ann &lt;b&gt;" in (tmp_path / "of" / "votes.html").read_text()


@pytest.mark.parametrize(("width", "dark"), [(500, True), (1100, False)])
def test_marks_and_widths(tmp_path, width, dark):
    runs = [paint(tmp_path / name, bright=5 * k, n=3) for k, name in enumerate("ab")]
    vote(tmp_path / "vote", *runs, n=6, kind="mos", checks=1)
    of = ballot.load(tmp_path / "vote")
    with browser(tmp_path, width, dark) as view:
        view.open(tmp_path / "vote" / "vote.html")
        assert view.run("return document.documentElement.scrollWidth") <= width
        ink = "return getComputedStyle(document.body).backgroundColor"
        assert view.run(ink) == ("rgb(22, 22, 22)" if dark else "rgb(255, 255, 255)")
        for k, q in enumerate(arranged(view, of)):
            mark = 1 if q.check else 2 + 2 * q.shown[0]
            view.press(str(mark)) if k % 2 else view.click(f"#marks button[value='{mark}']")
        view.click("#save")
        file, said = downloaded(tmp_path), view.complaints()
        view.click("#new")  # and the question is accepted
        assert view.text("#count") == "1 of 7" and said == []
    assert json.loads(file.read_text())["session"] in file.name or file.name.startswith("answers_")
    found = count(tmp_path / "of", tmp_path / "vote", str(file))
    assert (found["mos/a"], found["mos/b"], found["failed_checks"]) == (2, 4, 0)


def test_each_voter_has_an_order_and_sides_of_their_own(two, tmp_path):
    of, told = ballot.load(two), set[tuple[ballot.Question, ...]]()
    with browser(tmp_path) as view:
        view.open(two / "vote.html")
        for _ in range(3):
            first = arranged(view, of)
            view.press("left")  # from then on it is kept
            view.open(two / "vote.html")
            assert arranged(view, of) == first
            shown = view.run("return [...document.querySelectorAll('#images img')].map(i => i.src)")
            data = {q["id"]: q["images"] for q in view.run("return page.questions")}
            assert shown == view.run("return all[1].images") and sorted(shown) == sorted(data[first[1].id])
            assert (shown == data[first[1].id]) == (first[1] in of.questions) or len(set(shown)) == 1
            told.add(tuple(first))
            view.run("state.at = all.length; show()")
            view.click("#new")
    assert len(told) == 3


def test_keys_do_not_vote_by_accident(two, tmp_path):
    """A key that is held down counts once; a space on a button presses that button; letters are nothing."""
    with browser(tmp_path) as view:
        view.open(two / "vote.html")
        held = "document.dispatchEvent(new KeyboardEvent('keydown', {key: 'ArrowLeft', repeat: true}))"
        view.run(held)
        view.press("x", "5")
        assert view.text("#count") == "1 of 6"
        view.press("tab")
        assert view.run("return document.activeElement.id") == "left"
        view.press("space")
        kept = view.run("return JSON.parse(Object.values(localStorage)[0])")
        assert list(kept["answers"].values()) == ["left"] and view.text("#count") == "2 of 6"
        view.run('localStorage.setItem(Object.keys(localStorage)[0], \'{"answers": {"x": 1}, "at": "<b>"}\')')
        view.open(two / "vote.html")
        assert view.text("#count") == "1 of 6" and view.complaints() == []
