"""metrics.csv is whole after each call."""

import csv
import subprocess
import sys

import pytest

from diffexp.errors import DataError
from diffexp.training.csv_file import CsvRun


def table(path):
    with path.open(newline="") as file:
        return list(csv.reader(file))


def test_a_step_is_one_row_and_a_new_key_a_column(tmp_path):
    run = CsvRun(tmp_path / "metrics.csv")
    run.log({"a": 1.5, "epoch": 0}, 1)
    assert table(run.path) == [["step", "a"], ["1", "1.5"]]
    run.log({"a": 2.0}, 2)
    run.log({"b": float("nan")}, 2)  # with a column more, in the row of its step
    run.log({"a": 0.1, "b": 3}, 3)
    run.log({"a": 0.25}, 3)  # measured again
    run.log({"epoch": 1}, 4)
    rows = [["1", "1.5", ""], ["2", "2.0", "nan"], ["3", "0.25", "3.0"]]
    assert table(run.path) == [["step", "a", "b"], *rows]


def test_numbers_are_read_back_as_they_were(tmp_path):
    run, values = CsvRun(tmp_path / "metrics.csv"), [0.1, 1e-300, 1 / 3, float("inf")]
    run.log({f"k,{i}": v for i, v in enumerate(values)}, 1)
    head, row = table(run.path)
    assert head == ["step", "k,0", "k,1", "k,2", "k,3"] and [float(v) for v in row[1:]] == values


def test_it_is_made_anew_from_metrics_jsonl_where_a_run_goes_on(tmp_path):
    (tmp_path / "metrics.jsonl").write_text(
        '{"step": 1, "seconds": 0.1, "a": 1.0}\n{"step": 2, "a": 2.0}\n{"step": 2, "b": null}\n'
    )
    (tmp_path / "metrics.csv").write_text("step,a\n1,1.0\n2,2.0\n3,9.0\n4,")
    run = CsvRun(tmp_path / "metrics.csv")
    run.cut(2)
    run.log({"a": 3.0}, 3)
    rows = [["1", "1.0", ""], ["2", "2.0", "nan"], ["3", "3.0", ""]]
    assert table(run.path) == [["step", "a", "b"], *rows]


def test_a_job_before_it_leaves_no_row(tmp_path):
    (tmp_path / "metrics.csv").write_text("step,a\n1,1.0\n")
    run = CsvRun(tmp_path / "metrics.csv")
    run.cut(-1)  # there is no metrics.jsonl
    run.log({"b": 1.0}, 1)
    assert table(run.path) == [["step", "b"], ["1", "1.0"]]


def test_a_full_disk_leaves_no_half_of_a_row(tmp_path):
    code = (
        "import pathlib, resource, sys\n"
        "from diffexp.training.csv_file import CsvRun\n"
        "run = CsvRun(pathlib.Path(sys.argv[1]))\n"
        "run.log({'a': 1.0}, 1)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (run.path.stat().st_size + 3,) * 2)\n"
        "try:\n    run.log({'a': 2.0}, 2)\n"
        "except OSError as error:\n    print('full')\n"
    )
    path = tmp_path / "metrics.csv"
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True)
    assert done.stdout == "full\n", done.stderr
    assert path.read_text() == "step,a\n1,1.0\n"


def test_a_link_is_not_written_through(tmp_path):
    (tmp_path / "victim").write_text("precious")
    (tmp_path / "metrics.csv").symlink_to(tmp_path / "victim")
    run = CsvRun(tmp_path / "metrics.csv")
    run.log({"a": 1.0}, 1)  # a new table takes the link's place
    (tmp_path / "metrics.csv").unlink()
    (tmp_path / "metrics.csv").symlink_to(tmp_path / "victim")
    with pytest.raises(DataError, match="this is a link"):
        run.log({"a": 2.0}, 2)
    assert (tmp_path / "victim").read_text() == "precious"
