"""The folder of a sweep that somebody else has made: its plan and rows are text, and lead nowhere."""

import csv
import html
import json
import os
import random
import re
import shlex
from html.parser import HTMLParser

import pytest
from PIL import Image

from diffexp.errors import DataError, DiffexpError
from diffexp.escape import csv_field, markdown_cell
from diffexp.files import write
from diffexp.report.curves import Line, curves
from diffexp.report.failures import failures
from diffexp.report.html import page, refresh
from diffexp.report.table import flat, markdown, metrics_of, pivot, read
from diffexp.run import results as store
from diffexp.run.plan import read_plan

TERMINAL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e]")
EVIL = "'\"><img src=x onerror=alert(1)>|`\x1b[31m\u202e\n=1[a](http://b)</script>"


def job(i, steps, **more):
    cell = {"id": f"id{i}", "typed": [f"sampler.steps={steps}"], "folder": f"jobs/id{i}"}
    cards = {"fid_x": {"n": 100, "extractor": "digits", "standard_error": 0.1}}
    results = {"fid_x": 1.5 + i, "nfe": steps, "picture": "grid.png", "cards": cards}
    row = {"id": f"id{i}", "state": "done", "typed": cell["typed"], "seconds": 1.0, "results": results}
    return cell | {"values": {"sampler.steps": str(steps)}}, row | more


def a_sweep(folder, jobs=None, **more):
    """The files of a sweep of three jobs, one of which has failed."""
    failed = {"state": "failed", "results": None, "error": "it is wrong", "code": 2}
    jobs = jobs or [job(0, 5), job(1, 10), job(2, 20, **failed)]
    plan = {"name": "x", "command": "python run.py -m x", "layout": {}, "cells": [cell for cell, _ in jobs]}
    plan["varying"] = {"sampler.steps": [cell["values"].get("sampler.steps", "") for cell, _ in jobs]}
    write(folder / "plan.json", json.dumps(plan | more))
    write(folder / "results.jsonl", "".join(json.dumps(row) + "\n" for _, row in jobs))
    return folder


class Tags(HTMLParser):
    """All tags of a page, and all its attributes."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attrs, self.data, self.inside = set(), [], "", False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attrs += attrs
        self.inside = ("id", "results") in attrs

    def handle_endtag(self, tag):
        self.inside = False

    def handle_data(self, data):
        self.data += data if self.inside else ""


def test_no_text_of_a_sweep_becomes_more_than_text(tmp_path):
    """In every place that has room for one."""
    plain = Tags(page([a_sweep(tmp_path)]))
    cell, row = job(0, 5)
    other, more = job(1, 10)
    for c, r, k in ((cell, row, "0"), (other, more, "1")):
        c["id"] = r["id"] = f"{k} onmouseover=alert(1) {EVIL}"
        c["typed"] = [EVIL]
        c["values"] = {EVIL: EVIL + k, "sampler.steps": EVIL}
        card = {EVIL: EVIL, "n": EVIL}
        r["results"] = {EVIL: 1.0, "nfe": 5, "cards": {EVIL: card}}
    failed = job(2, 20, state="failed", error=EVIL, results={})
    failed[0]["values"] = {EVIL: EVIL, "sampler.steps": EVIL}
    a_sweep(tmp_path, [(cell, row), (other, more), failed], name=EVIL, command=EVIL, varying={EVIL: [EVIL]})
    refresh(tmp_path)
    shown = Tags((tmp_path / "report.html").read_text())
    assert shown.tags <= plain.tags | {"svg", "path", "circle", "title", "text", "ul", "li", "figcaption"}
    assert {name for name, _ in shown.attrs} <= {name for name, _ in plain.attrs} | {
        "aria-label", "d", "cx", "cy", "r", "fill", "stroke", "stroke-width", "stroke-dasharray",
        "viewbox", "role", "x", "y", "text-anchor",
    }  # fmt: skip
    assert {row["id"] for row in json.loads(shown.data)} == {cell["id"], other["id"], "id2"}
    for text in ((tmp_path / "table.md").read_text(), failures(tmp_path), flat(tmp_path)):
        assert not TERMINAL.search(text), TERMINAL.search(text)
    for line in [*markdown(tmp_path).splitlines()[2:], *failures(tmp_path).splitlines()]:
        assert "<img" not in re.sub(r"\\.", "", line) and "](" not in line
        assert line.startswith("|") and len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) in (2, 3, 4), line


@pytest.mark.parametrize(
    ("value", "field"),
    [
        ("=HYPERLINK(1)", "'=HYPERLINK(1)"), ("+1+1", "'+1+1"), ("-1+1", "'-1+1"), ("@SUM(1)", "'@SUM(1)"),
        ("\t=1", "'=1"), ("\r=1", "\\r=1"), ("＝1", "'＝1"), ("-1.5", "-1.5"), ("+3e-4", "+3e-4"),
        ("-.5", "-.5"), (-1.5, -1.5), ("a=b", "a=b"), ("[0,1]", "[0,1]"), (True, True), (None, None),
    ],
)  # fmt: skip
def test_a_spreadsheet_computes_nothing(value, field):
    assert csv_field(value) == field


def test_csv_of_formulas(tmp_path):
    """Keys, values, metrics, ids and messages; numbers stay."""
    cell, row = job(0, 5, state="failed", error="@boom\nmore")
    cell["id"] = row["id"] = "=1+1"
    cell["values"] = {"=cmd": "=HYPERLINK(0)", "eta": "-1.5"}
    row["results"] = {"+metric": -2.5}
    a_sweep(tmp_path, [(cell, row)], varying={"=cmd": [], "eta": []})
    head, line = csv.reader(flat(tmp_path).splitlines())
    assert head == ["'=cmd", "eta", "'+metric", "nfe", "seconds", "state", "id", "folder", "error"]
    assert line[:3] == ["'=HYPERLINK(0)", "-1.5", "-2.5"] and line[6] == "'=1+1" and line[8] == "'@boom"


def test_markdown_cells_stay_cells():
    told = markdown_cell("a|b\\|c`d`<img>[x](http://y)\nnext\x1b[0m [0,1]")
    assert told == r"a\|b\\\|c\`d\`\<img>[x]\(http://y) next\\x1b[0m [0,1]"


def test_the_command_of_a_job_is_one_command(tmp_path):
    """Whoever copies it into a shell runs nothing else, and types the same values."""
    cell, row = job(0, 5)
    cell["typed"] = ["a=[1,2]", "name='a b'; touch $(whoami) & `ls`"]
    text = page([a_sweep(tmp_path, [(cell, row)])])
    command = html.unescape(re.search("<summary>command</summary><code>(.*?)</code>", text)[1])
    assert shlex.split(command) == ["python", "run.py", *cell["typed"]]


def picture(path, size=(40, 40), kind="PNG", mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size).save(path, format=kind)
    return path


def shown(folder, name):
    """How many pictures the report has of a job whose row names `name`."""
    cell, row = job(0, 5)
    row["results"]["picture"] = name
    return page([a_sweep(folder, [(cell, row)])]).count("data:image/")


def test_pictures_are_those_of_the_job_and_no_others(tmp_path):
    folder = tmp_path / "sweep"
    own = picture(folder / "jobs" / "id0" / "grid.png")
    assert shown(folder, "grid.png") == 1
    private = picture(tmp_path / "private.png")
    other = picture(folder / "jobs" / "id1" / "grid.png")
    for name in (str(private), str(own), "../../../private.png", "../id1/grid.png", str(other), ".", "a\0b"):
        assert shown(folder, name) == (name == str(own)), name
    assert shown(folder, "x" * 5000) == 0
    (own.parent / "link.png").symlink_to(private)
    (own.parent / "round.png").symlink_to(own.parent / "round.png")
    os.mkfifo(own.parent / "pipe.png")
    picture(own.parent / "gif.png", kind="GIF")
    picture(own.parent / "huge.png", (12000, 12000), mode="1")
    (own.parent / "cut.png").write_bytes(own.read_bytes()[:60])
    for name in ("link.png", "round.png", "pipe.png", "gif.png", "huge.png", "cut.png"):
        assert shown(folder, name) == 0, name


def test_a_folder_of_jobs_that_is_a_link_gives_no_pictures(tmp_path):
    picture(tmp_path / "photos" / "grid.png")
    (tmp_path / "sweep" / "jobs").mkdir(parents=True)
    (tmp_path / "sweep" / "jobs" / "id0").symlink_to(tmp_path / "photos")
    assert shown(tmp_path / "sweep", "grid.png") == 0


@pytest.mark.parametrize("folder", ["../other", "/", "jobs/../../x", "", ".", "a\0b", "..", 3, None])
def test_a_cell_lies_in_its_sweep(tmp_path, folder):
    cell, row = job(0, 5)
    with pytest.raises(DataError, match=r"cells\[0\].folder is not a folder inside of the sweep") as caught:
        page([a_sweep(tmp_path, [(cell | {"folder": folder}, row)])])
    assert "plan.json: cells[0].folder" in caught.value.where


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"name": 3}, "name"), ({"command": None}, "command"), ({"layout": []}, "layout"),
        ({"layout": {"rows": 3}}, "layout.rows"), ({"layout": {"published": [1]}}, "layout.published"),
        ({"layout": {"metric": []}}, "layout.metric"), ({"varying": ["a"]}, "varying"),
        ({"varying": {"eta": ["0"]}}, r"cells\[0\].values"), ({"cells": {}}, "cells"),
        ({"cells": [1]}, "cells"),
        ({"cells": [{}]}, r"cells\[0\].id"), ({"extra": 10**400}, "the plan"),
    ],
)  # fmt: skip
def test_a_plan_that_is_none_is_refused_by_the_key_that_is_wrong(tmp_path, change, key):
    with pytest.raises(DataError, match=f"^{key} is not "):
        read_plan(a_sweep(tmp_path, **change))


def test_a_plan_that_is_not_there_or_never_ends(tmp_path):
    with pytest.raises(DataError, match=r"there is no plan\.json"):
        read_plan(tmp_path)
    os.mkfifo(tmp_path / "plan.json")
    os.mkfifo(tmp_path / "results.jsonl")
    with pytest.raises(DataError, match=r"there is no plan\.json"):
        read_plan(tmp_path)
    assert store.rows(tmp_path) == {}


def test_a_line_that_was_typed_twice_is_one_cell_of_an_older_plan(tmp_path):
    assert len(read(a_sweep(tmp_path, [job(0, 5), job(0, 5), job(1, 10)])).cells) == 2


FORGED = [
    {"state": "done", "results": "x"}, {"state": "done", "results": {"cards": ["x"]}}, {"state": 1},
    {"state": "done", "results": {"cards": {"fid_x": "x"}}}, {"seconds": "1"}, {"seconds": True},
    {"state": "failed", "error": ["x"]}, {"results": {"nfe": "5"}}, {"results": {"nfe": [5]}},
    {"results": {"picture": 3}}, {"results": {"fid_x": 10**400}}, {"seconds": 1e999},
    {"results": {"cards": {"fid_x": {"standard_error": "x"}}}}, {"results": json.loads("[" * 60 + "]" * 60)},
]  # fmt: skip


@pytest.mark.parametrize("forged", FORGED)
def test_a_row_that_no_job_writes_is_left_out_and_counted(tmp_path, forged):
    a_sweep(tmp_path)
    with (tmp_path / store.ROWS).open("a") as file:
        file.write(json.dumps(job(1, 10)[1] | forged) + "\n")
    refresh(tmp_path)
    told = "rows of results.jsonl that no job writes, left out: 1"
    assert told in (tmp_path / "report.html").read_text() and told in (tmp_path / "table.md").read_text()
    assert pivot(tmp_path, "fid_x").stats["", "10"].mean == 2.5  # the row before it counts


def test_numbers_that_json_does_not_have(tmp_path):
    """A browser reads the page's data by JSON.parse, which knows no NaN."""
    values = [float("nan"), float("inf"), -1e308, 1e308, 1e308, 5e-324, 0, 10**299, True]
    jobs = [job(i, i + 1) for i in range(len(values))]
    for (_, row), value in zip(jobs, values, strict=True):
        row["results"] |= {"fid_x": value, "fid_y": value}
        row["results"]["cards"]["fid_x"]["standard_error"] = value if isinstance(value, float) else None
    jobs[3][1]["results"]["nfe"] = float("nan")
    jobs[4][1]["results"]["nfe"] = 0
    refresh(a_sweep(tmp_path, jobs))
    text = Tags((tmp_path / "report.html").read_text()).data
    data = json.loads(text, parse_constant=lambda name: pytest.fail(name))
    assert [row["results"]["fid_x"] for row in data] == [None, None, *values[2:]]


@pytest.mark.parametrize(
    "points",
    [
        [(1, [1e308]), (2, [-1e308])], [(float("nan"), [1]), (2, [2])], [(1, [1e16]), (2, [1e16 + 2])],
        [(1, [5e-324]), (2, [1e-323])], [(1e308, [1]), (2, [1])], [(1, [0]), (1, [0])],
        [(1, [1e99]), (2, [-1e99])],
    ],
)  # fmt: skip
def test_any_numbers_are_drawn_or_left_out(points):
    text = curves("m", [Line("a", points)])
    assert "nan" not in text and "inf" not in text.replace("info", "")


def test_an_error_without_words_is_a_failure_like_others(tmp_path):
    for error in ("", "\n", None, "\u2028", "a\u0085b"):
        a_sweep(tmp_path, [job(0, 5, state="failed", error=error)])
        refresh(tmp_path)
        assert failures(tmp_path).count("\n") == 2
    assert r"a\\x85b" in failures(tmp_path)


JUNK = [
    None, True, False, 0, -1, 3.5, 10**20, 10**310, float("nan"), float("inf"), 1e308, "", "x", "\u2028",
    "\ud800", "../..", "/", "a\0", EVIL, [], {}, [None], {"x": None}, [[[]]], ["a", 1], {"a": {"b": ["c"]}},
    "9" * 5000,
    json.loads("[" * 100 + "]" * 100),
]  # fmt: skip


def edited(value, draw):
    """The same JSON with one thing in it removed, doubled, or replaced."""
    if not isinstance(value, (dict, list)) or not value or draw.random() < 0.15:
        return draw.choice(JUNK)
    keys = list(value) if isinstance(value, dict) else list(range(len(value)))
    key = draw.choice(keys)
    out = value.copy()
    if (kind := draw.random()) < 0.1:
        del out[key]
    elif kind < 0.2 and isinstance(out, list):
        out.append(out[key])
    elif kind < 0.2:
        out[draw.choice(["id", "x", "nfe", "seconds", EVIL])] = draw.choice(JUNK)
    else:
        out[key] = edited(out[key], draw)
    return out


def damaged(path, draw):
    """A file with some of its JSON edited, or its bytes."""
    if draw.random() < 0.2:
        data = bytearray(path.read_bytes())
        at = draw.randrange(len(data))
        data[at : at + draw.choice([0, 1, len(data)])] = draw.choice(
            [b"", b"\xff", b"{", b"\0", b"\xe2\x80\xa8"]
        )
        path.write_bytes(data)
    elif path.suffix == ".json":
        write(path, json.dumps(edited(json.loads(path.read_bytes()), draw)))
    else:
        lines = path.read_text().splitlines()
        at = draw.randrange(len(lines))
        lines[at] = json.dumps(edited(json.loads(lines[at]), draw))
        path.write_text("\n".join(lines))


def answers(folder):
    """How many of the readers of a sweep's folder work; the others raise DiffexpError, or this does."""
    calls = [markdown, flat, failures, lambda f: page([f]), refresh, read_plan, store.rows, panels]
    good = 0
    for call in calls:
        try:
            call(folder)
            good += 1
        except DiffexpError:
            pass
    return good


def panels(folder):
    """As task=workspace does."""
    from diffexp.tasks.workspace import workspace

    found = read(folder)
    pytest.importorskip("wandb_workspaces")
    workspace("me", "x", metrics_of(found), list(found.plan["varying"]))


@pytest.mark.slow
def test_edited_plans_and_rows_are_read_or_refused(tmp_path):
    """400 files, from one seed."""
    draw, good = random.Random(0), []
    picture(tmp_path / "jobs" / "id0" / "grid.png")
    for _ in range(400):
        a_sweep(tmp_path, layout={"rows": None, "published": {"data": "x", "values": {"5,": 3}}})
        for name in draw.choice([["plan.json"], ["results.jsonl"], ["plan.json", "results.jsonl"]]):
            damaged(tmp_path / name, draw)
        good.append(answers(tmp_path))
    assert set(good) == {1, 8} and 100 < good.count(8) < 350  # store.rows works without a plan
