"""The report in a real browser: nothing fails, tables sort, numbers are those of the rows.

Needs playwright, and Chromium: named by DIFFEXP_CHROMIUM, or found on the path.
"""

import json
import os
import shutil

import pytest

from diffexp.files import write
from diffexp.pictures import grid, save
from diffexp.report.html import page
from diffexp.run import results as store

pytestmark = pytest.mark.slow
playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = os.environ.get("DIFFEXP_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")


def a_sweep(folder):
    import torch

    cells, values = [], {}
    for i, (eta, steps) in enumerate((e, s) for e in ("0", "1") for s in ("5", "10", "20")):
        values[f"id{i}"] = 1 / (i + 1)
        cell = {
            "id": f"id{i}",
            "typed": [f"sampler.eta={eta}", f"sampler.steps={steps}"],
            "folder": f"jobs/id{i}",
        }
        cells.append(cell | {"values": {"sampler.eta": eta, "sampler.steps": steps}})
        save(
            grid(torch.full((4, 1, 8, 8), 40 * i, dtype=torch.uint8)), folder / "jobs" / f"id{i}" / "grid.png"
        )
        results = {"fid_x": values[f"id{i}"], "nfe": int(steps), "picture": "grid.png"}
        results["cards"] = {"fid_x": {"n": 1000, "extractor": f"digits {i}"}}
        row = {"id": f"id{i}", "state": "done", "seconds": 1.0 * i, "results": results}
        if i == 5:
            row = {"id": "id5", "state": "failed", "seconds": 0.1, "error": "eta is <negative>"}
        store.append(folder, row)
    plan = {"name": "eta_steps", "command": "python run.py -m x", "layout": {}, "cells": cells}
    plan["varying"] = {"sampler.eta": ["0", "1"], "sampler.steps": ["5", "10", "20"]}
    write(folder / "plan.json", json.dumps(plan))
    return values


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_report_in_a_browser(tmp_path, scheme, width):
    values = a_sweep(tmp_path)
    (tmp_path / "report.html").write_text(page([tmp_path]))
    said = []
    with playwright.sync_playwright() as p:
        flags = ["--no-sandbox", "--disable-gpu", "--single-process", "--no-zygote"]
        browser = p.chromium.launch(executable_path=CHROMIUM, args=flags)
        view = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme).new_page()
        view.on("console", lambda m: said.append(m.text))
        view.on("pageerror", lambda e: said.append(str(e)))
        view.on("request", lambda r: said.append(r.url) if not r.url.startswith(("file:", "data:")) else None)
        view.goto((tmp_path / "report.html").as_uri())
        assert view.evaluate("document.documentElement.scrollWidth") <= width
        shown = view.evaluate("JSON.parse(document.getElementById('results').textContent)")
        assert {r["id"]: r["results"]["fid_x"] for r in shown if r["state"] == "done"} == {
            k: v for k, v in values.items() if k != "id5"
        }
        sort = view.locator(".all .sort", has_text="fid_x")
        for _ in range(2):
            sort.press("Enter")
            order = view.eval_on_selector_all(".all tbody tr", "rows => rows.map(r => r.dataset.id)")
            direction = view.locator(".all th[aria-sort]").get_attribute("aria-sort")
            done = [i for i in order if i != "id5"]
            assert done == sorted(done, key=values.get, reverse=direction == "descending")
        view.locator(".heat td[tabindex]").first.focus()
        assert view.locator(".heat .card").first.is_visible()
        view.locator(".pictures .look").first.press("Enter")
        assert view.locator("dialog[open] img").is_visible()
        view.keyboard.press("Escape")
        assert not view.locator("dialog[open]").count()
        assert "eta is <negative>" in view.inner_text("body")
        browser.close()
    assert not said
