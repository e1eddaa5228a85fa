"""Differences in a real browser: a baseline is chosen, and table, curves and matrix follow. Needs chromium
and chromedriver, of the system.
"""

import json
from types import SimpleNamespace

import pytest
from browser import CHROMIUM, DRIVER, browser
from test_compared import a_sweep

from diffexp.files import write
from diffexp.report.html import refresh
from diffexp.tasks.compare import Compare

pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="no chromium and chromedriver")
CHOOSE = """const select = document.querySelector('.baseline');
select.value = arguments[0]; select.dispatchEvent(new Event('change'))"""
SHOWN = "return [...document.querySelectorAll('.shown')].map(e => e.textContent)"
AT = "return [...document.querySelectorAll('circle')].map(e => Number(e.getAttribute(arguments[0])))"
BARS = "return [...document.querySelectorAll('.bar')].map(e => e.getAttribute('d'))"
TICKS = "return [...document.querySelectorAll('.scale text')].map(e => Number(e.textContent))"
WIDE = "return document.documentElement.scrollWidth"


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    folder = a_sweep(tmp_path_factory.mktemp("swept"), {5: 4.0, 10: 3.01, 20: 3.0})
    rows = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
    for row, steps in zip(rows, (5, 10, 20), strict=True):
        row["results"]["nfe"] = steps
    write(folder / "results.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    refresh(folder)
    return folder


def test_table_and_curves_of_a_sweep_follow_the_baseline(swept, tmp_path):
    with browser(tmp_path) as view:
        view.open(swept / "report.html")
        before, dots, bars = view.run(SHOWN), view.run(AT, "cy"), view.run(BARS)
        assert before == ["4", "3.01", "3"] and len(bars) == 3
        view.run(CHOOSE, "1")
        shown = view.run(SHOWN)
        assert shown[0].startswith("+0.99 ± 0.0") and shown[0].endswith("*") and shown[1] == "0"
        assert shown[2].startswith("-0.01 ± ") and not shown[2].endswith("*")
        y, ticks = view.run(AT, "cy"), view.run(TICKS)
        assert y[0] < y[1] < y[2] and 0 in ticks and 0.8 in ticks  # 0.99 above 0 above -0.01
        ends = [[float(p) for p in bar.split(" ")[1].split("V")] for bar in view.run(BARS)]
        assert ends[1][0] == ends[1][1] == y[1] and sum(ends[0]) / 2 == pytest.approx(y[0], abs=0.11)
        assert view.text(".bars").startswith("difference to steps=10, and its 95 % interval, paired")
        assert view.run("return document.querySelector('td.base .shown').dataset.cell") == "1"
        view.run(CHOOSE, "")
        assert (view.run(SHOWN), view.run(AT, "cy"), view.run(BARS)) == (before, dots, bars)
        assert view.complaints() == []


def test_the_matrix_says_the_interval_of_what_is_pointed_at(swept, tmp_path):
    with browser(tmp_path, width=500) as view:
        view.open(swept / "report.html")
        assert view.run(WIDE) <= 500
        view.click(".matrix summary")
        view.click("[data-pair='0 2']")
        worse = view.text(".pair")
        assert worse.startswith("steps=5 against steps=20: worse, +1 ± 0.0") and "95 % interval +0." in worse
        assert worse.endswith(", paired") and view.run(WIDE) <= 500
        view.click("[data-pair='2 0']")
        better = view.text(".pair")
        assert better.startswith("steps=20 against steps=5: better, -1 ± 0.0") and "interval -1." in better
        assert view.run("return document.querySelector(\"[data-pair='2 0']\").title") == better


def test_the_figure_of_a_comparison_follows_the_baseline(swept, tmp_path):
    job = SimpleNamespace(folder=tmp_path / "c")
    job.folder.mkdir()
    Compare((str(swept),)).run(job, SimpleNamespace(results={}))
    with browser(tmp_path, dark=True) as view:
        view.open(tmp_path / "c" / "compare.html")
        x = view.run(AT, "cx")
        assert x[2] < x[1] < x[0] and view.text(".bars").startswith("difference to steps=20")
        assert view.run("return document.querySelector('.baseline').value") == "2"
        assert view.run(SHOWN)[2] == "0" and view.run(SHOWN)[0].startswith("+1 ± 0.0")
        view.run(CHOOSE, "0")
        x, shown = view.run(AT, "cx"), view.run(SHOWN)
        assert x[2] < x[1] < x[0] and shown[0] == "0" and shown[2].startswith("-1 ± 0.0")
        assert -0.8 in view.run(TICKS) and view.text(".bars").startswith("difference to steps=5")
        assert view.complaints() == []
