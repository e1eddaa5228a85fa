"""task=data: what a data set holds, on the screen and as a page; a stranger's captions are shown as text."""

import json
from html.parser import HTMLParser

import numpy as np
import pytest
from commands import composed
from PIL import Image
from test_folder import paint

from diffexp.data import Digits
from diffexp.errors import ConfigError, DataError
from diffexp.report.data_page import cut
from diffexp.report.histogram import bins
from diffexp.tasks.data import Data
from diffexp.tasks.run import run_job

HOSTILE = [
    "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "x' onload='alert(1) \"><b>",
    "../../etc/passwd",
    "a\x00b\x1b[31m[red]\u202e",
    "</style></html>" + "long " * 20_000,
    "שלום עולם",
    "👩‍👩‍👧 🐟",
    "{{7*7}} ${data_root} :warning: [/b]",
]


class Seen(HTMLParser):
    """The tags of a page, with their attributes, and its text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text, self.names = set(), "", set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.names |= {name for name, _ in attrs}

    def handle_data(self, data):
        self.text += data


def look(folder, *typed):
    line = ["task=data", "logger=none", f"dir={folder}", *typed]
    cfg, choices = composed(line)
    return run_job(cfg, folder, line, choices)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """(results, the page, its parts) of a folder whose captions and classes are a stranger's."""
    root = tmp_path_factory.mktemp("hostile")
    names = [f"{i:02d}.png" for i in range(40)]
    paint(root / "data", names, (12, 8))
    paint(root / "data", names[:10], (8, 8))
    rows = [
        {"file_name": n, "text": [HOSTILE[i % 8], f"second {i}"], "kind": HOSTILE[i % 2]}
        for i, n in enumerate(names)
    ]
    (root / "data" / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    typed = [f"data.path={root / 'data'}", "data.size=8", "data.label=kind", "data.caption.shuffle=true"]
    results = look(root / "run", "data=folder", *typed)
    page = (root / "run" / "data.html").read_text()
    return results, page, Seen(page), root / "run"


def test_a_strangers_captions_are_text(hostile):
    _, page, seen, folder = hostile
    assert seen.tags <= {
        "html", "meta", "link", "title", "style", "h1", "h2", "dl", "dt", "dd", "div", "figure", "svg",
        "rect", "text", "table", "thead", "tbody", "tr", "th", "td", "p", "b", "img",
    }  # fmt: skip
    assert not {name for name in seen.names if name.startswith("on")}
    for text in (HOSTILE[0], HOSTILE[2], HOSTILE[5], HOSTILE[6], HOSTILE[7], "second 7"):
        assert text in seen.text
    assert "\\x1b[31m[red]\\u202e" in seen.text and not set("\x00\x1b\u202e") & set(page)
    assert "… (100,014 letters)" in seen.text and len(page) < 400_000
    assert {p.name for p in folder.iterdir()} == {
        ".lock", "config.yaml", "data.html", "data.png", "log", "overrides.yaml", "run.json",
        "result.json",
    }  # fmt: skip


def test_results_are_those_of_the_files(hostile):
    results, page, seen, folder = hostile
    assert (results["n_train"], results["n_val"], results["n_test"], results["classes"]) == (36, 2, 2, 2)
    assert results["sizes"] == 2 and "8x1230" in seen.text.replace("\n", "") and "8x810" in seen.text
    captions = results["captions"]
    assert captions["captions"] == 72 and captions["several"] == 36 and captions["letters"]["most"] == 100_014
    assert captions["scripts"]["Hebrew"] == captions["scripts"]["emoji and symbols"] > 0
    assert page.count("data:image/png;base64,") == 36 and page.count("class=drawn") == 3 * 36
    with Image.open(folder / "data.png") as picture:
        assert picture.width > 300


def test_a_set_without_captions(tmp_path, capsys):
    results = look(tmp_path / "run", "data=digits", "task.pictures=20")
    assert results["classes"] == 10 and results["n_train"] == 1437 and "captions" not in results
    assert results["fingerprint"] == Digits().fingerprint("train")
    page = (tmp_path / "run" / "data.html").read_text()
    assert page.count("<figure class=card>") == 20 and "8x8" in page and "Captions" not in page
    out = capsys.readouterr().out
    assert "1,437 train, 180 val, 180 test" in out and "8x8" in out


def test_captions_of_arrays(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (30, 4, 4, 3), dtype=np.uint8)
    np.savez(tmp_path / "set.npz", images=images, captions=np.array([[f"n {i}", "two"] for i in range(30)]))
    results = look(tmp_path / "run", "data=npz", f"data.path={tmp_path / 'set.npz'}", "task.split=val")
    assert results["n_val"] == 1 and results["captions"]["captions"] == 2


def test_faults_are_found_before_anything_is_written(tmp_path):
    with pytest.raises(DataError, match="no such folder"):
        look(tmp_path / "run", "data=folder", f"data.path={tmp_path / 'none'}")
    with pytest.raises(ConfigError, match="there is no rule urls_"):
        look(tmp_path / "run", "data=folder", f"data.path={tmp_path}", "data.caption.clean=[urls_]")
    with pytest.raises(ConfigError, match="pictures=0"):
        Data(pictures=0)
    assert not (tmp_path / "run").exists()


def test_bars_of_a_histogram():
    assert bins({8: 2, 4: 1}) == [("4", 1), ("8", 2)]
    many = bins({float(2**i): i for i in range(1, 25)})
    assert len(many) == 12 and sum(n for _, n in many) == 300 and many[0][0].startswith("2–")
    assert bins({}) == []


def test_a_long_text_is_cut_with_its_length():
    assert cut("a\nb", 5) == "a b" and cut("x" * 7, 3) == "xxx … (7 letters)"
