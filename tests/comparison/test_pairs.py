"""Each cell against each, and how differences, faults and unfinished runs are said."""

import json
from dataclasses import replace

import numpy as np
import pytest
from test_compared import PAIRING, a_sweep, results, run, verdicts

from diffexp.comparison import Difference, Evidence, of_evaluations
from diffexp.comparison.difference import Number
from diffexp.comparison.evidence import save
from diffexp.errors import DataError
from diffexp.files import write
from diffexp.report.compared import Verdict, variants
from diffexp.report.differences import of_pairs
from diffexp.report.html import refresh
from diffexp.report.pairs import matrix, selector
from diffexp.report.read_runs import read_variants, unfinished
from diffexp.report.table import read


def test_all_pairs_are_compared_in_the_order_of_the_table(tmp_path):
    snapshot = read(a_sweep(tmp_path, {5: 4.0, 10: 3.01, 20: 3.0}))
    pairs, index = of_pairs(snapshot, "fid_x")
    assert pairs.names == ["steps=5", "steps=10", "steps=20"]
    assert index == {("", "5"): 0, ("", "10"): 1, ("", "20"): 2}
    signs = [[pairs.sign(i, j) for j in range(3)] for i in range(3)]
    assert signs == [["", "▼", "▼"], ["▲", "", "·"], ["▲", "·", ""]]
    known = json.loads(selector(pairs).partition("class=pairs>")[2].partition("</script>")[0])
    (first, second), (last,), () = known["upper"]
    assert first[0] == pytest.approx(0.99) and second[0] == 1 and last[0] == pytest.approx(0.01)
    assert first[1] < 0.1 and first[2] == pytest.approx(2.2622 * first[1], rel=1e-3)  # Student's t of 9
    assert first[4:] == [1, "worse"] and last[4:] == [1, "not separated"] and first[3] < 0.001 < last[3]
    assert matrix(pairs).count("class=down") == 2 and "data-pair='2 0'" in matrix(pairs)


def test_a_page_says_which_cell_each_dot_and_bar_is_of(tmp_path):
    folder = a_sweep(tmp_path, {5: 4.0, 10: 3.01, 20: 3.0})
    rows = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
    for row, steps in zip(rows, (5, 10, 20), strict=True):
        row["results"]["nfe"] = steps
    write(folder / "results.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    refresh(folder)
    page = (folder / "report.html").read_text()
    assert "data-cells='0 1 2'" in page and page.count("<circle data-cell=") == 3
    assert page.count("<path class=bar data-at=") == 3
    assert "<span class=bars>bars: the standard error of each alone</span>" in page
    assert page.count("<span class=shown data-cell=") == 3


def test_cells_of_two_keys_are_named_by_their_keys(tmp_path):
    snapshot = read(a_sweep(tmp_path, {5: 4.0, 10: 3.0}))
    for cell, _ in snapshot.cells:
        cell["values"]["sampler.eta"] = "0"
    varying = {"sampler.eta": ["0"], **snapshot.plan["varying"]}
    two = replace(snapshot, plan=snapshot.plan | {"varying": varying})
    assert [v.name for v in variants(two).values()] == ["eta=0 steps=5", "eta=0 steps=10"]


@pytest.mark.parametrize(
    ("kind", "a", "b", "note"),
    [
        ("without", [1.0, np.inf, 2.0], [1.0, 2.0, 3.0], "what was kept of it is not finite"),
        ("without", [1.0, 2.0], [1.0, np.nan], "what was kept of it is not finite"),
        ("without", [1.0], [1.0, 2.0], "one number was kept of it, and two are needed"),
        ("without", [1.0, 2.0, 3.0], [1.0, 2.0], "3 parts were kept of one, 2 of the other"),
        ("each", [1.0, 2.0, 3.0], [1.0, 2.0], "3 images were kept of one, 2 of the other"),
        ("each", [1.0, np.nan, 3.0], [1.0, 2.0, 3.0], "other images were judged"),
        ("other", [1.0, 2.0], [1.0, 2.0], "this number is not kept image by image"),
    ],
)
def test_why_two_evaluations_are_not_paired(kind, a, b, note):
    x, y = (Number("k", v[0], 3, 0.5, Evidence({f"k/{kind}": np.array(v)}, PAIRING)) for v in (a, b))
    d = of_evaluations(x, y)
    assert (d.note, d.paired) == (note, False) and d.error == pytest.approx(0.5**0.5)


def test_with_more_seeds_the_quantile_falls_as_well():
    """3 seeds, a difference as large as its error: by t(2) = 4.30 it would take 56, by t(14) = 2.14 15."""
    d = Difference(1.0, 1.0, 2, 3, "seeds", True)
    least = d.needed()
    assert least == 15  # 3^0.5 t(n - 1) / n^0.5 <= 1 at n = 15, not at 14

    def half(n):
        return replace(d, df=n - 1)._quantile(0.05) * (3 / n) ** 0.5

    assert half(least) <= 1 < half(least - 1)
    assert replace(d, unit="images", df=9, count=1000).needed() == 5118


def test_what_would_decide_one_pair_is_a_sentence():
    open_ = Verdict("fid_x", "a", "b", 3.0, Difference(0.1, 0.1, 9, 1000, paired=True), corrected=0.34)
    words = "about 5,200 images each; it is at most 0.33"
    assert open_.decides == words
    same = replace(open_, difference=Difference(0.0, 0.1, 9, 1000, paired=True), corrected=1.0)
    assert same.decides == "nothing, if it stays 0"
    among = replace(open_, difference=Difference(0.3, 0.1, 9, 1000, paired=True), corrected=0.08)
    assert among.decides == "fewer comparisons: alone it has p 0.015"


def ended(folder, state, measured=True):
    record = {"seed": 0, "state": state, "results": results(3.0) if measured else {}}
    write(folder / "run.json", json.dumps(record))
    return folder


def test_runs_that_have_not_ended_well_are_named(tmp_path):
    for name in ("a", "b", "c"):
        run(tmp_path / name, 3.0, config=f"k: {name}")
    ended(tmp_path / "b", "ResourceError: the disk is full")
    ended(tmp_path / "c", "running")
    folders = [tmp_path / name for name in ("a", "b", "c")]
    assert unfinished(folders) == [
        f"{tmp_path / 'b'} has failed (ResourceError: the disk is full): its numbers are of before",
        f"{tmp_path / 'c'} was interrupted: its numbers are of before",
    ]
    with pytest.raises(DataError, match="this run has measured nothing, and was interrupted"):
        read_variants([ended(tmp_path / "c", "running", measured=False)])


def test_jobs_of_a_sweep_that_are_left_out_are_counted(tmp_path):
    folder = a_sweep(tmp_path, {5: 4.0, 10: 3.0, 20: 3.5, 50: 3.1})
    lines = (folder / "results.jsonl").read_text().splitlines()
    failed = json.dumps({"id": "20_None", "state": "failed", "results": {}})
    write(folder / "results.jsonl", "\n".join([*lines[:2], failed]) + "\n")
    assert unfinished([folder]) == [f"of the 4 jobs of {folder} 1 failed and 1 not done yet: left out"]


def test_a_number_of_ones_own_is_ranked_by_its_card_alone(tmp_path):
    a, b = (run(tmp_path / k, v, config=f"k: {k}", better="higher") for k, v in (("a", 3.0), ("b", 3.2)))
    for folder, value in ((a, 3.0), (b, 3.2)):
        path = tmp_path / folder / "run.json"
        path.write_text(path.read_text().replace("fid_x", "shown"))
        save(path.parent, Evidence({"shown/without": value + np.arange(10) / 100}, PAIRING))
    (verdict,) = verdicts(a, b)
    assert (verdict.baseline, verdict.words) == ("b", "worse")
    for folder in (a, b):
        path = tmp_path / folder / "run.json"
        path.write_text(path.read_text().replace('"better"', '"other"'))
    (verdict,) = verdicts(a, b)
    assert (verdict.baseline, verdict.words) == ("a", "higher")
