"""The site that mkdocs.yml builds: without a warning, without other hosts, with all that it is to show."""

import os
import re
import runpy
import subprocess
import sys
from html.parser import HTMLParser
from importlib import import_module
from inspect import isclass, isfunction
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OPTIONS = runpy.run_path(str(ROOT / "tools" / "options.py"))


class Tags(HTMLParser):
    """The addresses that a page loads, those that it links to, its ids and its text."""

    def __init__(self, page):
        super().__init__()
        self.loaded, self.links, self.ids, self.text = set(), set(), set(), ""
        self.feed(page.read_text())

    def handle_starttag(self, tag, attrs):
        given = {name: value for name, value in attrs if value}
        self.ids |= {given["id"]} if "id" in given else set()
        self.loaded |= {given[name] for name in ("src", "srcset", "data", "poster") if name in given}
        self.loaded |= {given["href"]} if tag == "link" and "href" in given else set()
        self.links |= {given["href"]} if tag == "a" and "href" in given else set()

    def handle_data(self, data):
        self.text += data


pytestmark = pytest.mark.slow  # half a minute; `make docs` builds it as strictly


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """(folder, pages by name) of the site."""
    pytest.importorskip("mkdocstrings_handlers.python")
    folder = tmp_path_factory.mktemp("site")
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    env = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(words, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and "WARNING" not in done.stderr, done.stderr
    return folder, {page.relative_to(folder).as_posix(): Tags(page) for page in folder.rglob("*.html")}


def foreign(address):
    return bool(re.match(r"(?!data:)\w+:|//", address))


def test_the_site_loads_nothing_from_elsewhere(site):
    folder, pages = site
    assert len(pages) > 35
    assert {(name, url) for name, page in pages.items() for url in page.loaded if foreign(url)} == set()
    elsewhere = re.compile(r"(?:url\(|@import) *['\"]?(?:https?:)?//")
    assert [file for file in folder.rglob("*.css") if elsewhere.search(file.read_text())] == []


def test_every_link_of_the_site_leads_somewhere(site):
    folder, pages = site
    broken = []
    for name, page in pages.items():
        for link in page.links:
            path, _, anchor = link.partition("#")
            if foreign(link) or name == "404.html":  # whose links are those of a server
                continue
            to = os.path.normpath(os.path.join(os.path.dirname(name), path)) if path else name
            if not (folder / to).is_file() or (anchor and to in pages and anchor not in pages[to].ids):
                broken.append((name, link))
    assert broken == []


def test_the_reference_shows_shapes_units_errors_and_source(site):
    _, pages = site
    schedule, ddim = pages["api/diffusion.html"], pages["api/samplers.html"]
    assert "diffexp.diffusion.schedule.Schedule" in schedule.ids and "diffexp.samplers.ddim.DDIM" in ddim.ids
    assert "The table of angles φ(i/T), float64, shape (T + 1,), from 0 to at most π/2." in schedule.text
    assert "Raises ConfigError when the angles do not rise strictly" in schedule.text
    assert "src/diffexp/diffusion/schedule.py" in schedule.text and "class Schedule:" in schedule.text
    assert "Raises ConfigError for a negative eta." in ddim.text and "class DDIM(OneCall):" in ddim.text
    assert "Return α and σ at the times t in [0, 1]." in schedule.text
    assert "Yield x after each step, (B, C, H, W)" in ddim.text


def test_the_reference_has_all_that_the_rooms_offer(site):
    _, pages = site
    ids = {name for page in pages.values() for name in page.ids if name.startswith("diffexp.")}
    rooms = ("diffusion", "samplers", "networks", "conditioning", "codecs", "data", "metrics", "training")
    modules = [import_module(f"diffexp.{room}") for room in rooms]
    parts = {name: getattr(module, name) for module in modules for name in module.__all__}
    offered = {name for name, part in parts.items() if isclass(part) or isfunction(part)}
    assert len(offered) > 100 and offered - {name.rpartition(".")[2] for name in ids} == set()


def test_nothing_in_the_reference_is_taken_for_markup(site):
    _, pages = site
    assert "Key fid_<extractor>." in pages["api/metrics.html"].text
    assert "the regression target F* = a x0 + b ε" in pages["api/diffusion.html"].text
    assert "ConfigError for steps < 1" in pages["api/samplers.html"].text


def test_the_reference_of_options_has_every_option_and_key(site):
    page = site[1]["options.html"]
    for name, _, files in OPTIONS["groups"]():
        assert [file.stem for file in files if f"{name}={file.stem}" not in page.text] == []
    for words in ("steps: 50", "eta: 0.0", "any of sbatch's as slurm_NAME", "mirror each image in half of"):
        assert words in page.text
    assert "typed as sampler.KEY=VALUE" in page.text and "typed as task.KEY" not in page.text
    assert page.text.count("steps in equal parts of the chain") == 1  # of _grid.yaml, for all samplers
