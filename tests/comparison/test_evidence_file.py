"""evidence.npz: it comes back, it is small, and a stranger's is judged before it is read."""

import json
import zipfile

import numpy as np
import pytest

from diffexp.comparison import Evidence
from diffexp.comparison.evidence import NAME, load, save
from diffexp.errors import DataError


def test_evidence_comes_back_and_goes_with_the_evaluation(tmp_path):
    each = np.where(np.arange(1000) % 7 == 0, np.nan, 1.0)
    kept = Evidence({"fid_x@2/without": np.linspace(1, 2, 10), "right/each": each}, {"n": 1000})
    save(tmp_path, kept)
    read = load(tmp_path)
    assert read.pairing == {"n": 1000} and set(read.arrays) == set(kept.arrays)
    assert all(np.array_equal(read.arrays[k], v, equal_nan=True) for k, v in kept.arrays.items())
    assert (tmp_path / NAME).stat().st_size < 2000
    save(tmp_path, Evidence())
    assert load(tmp_path) is None


@pytest.mark.parametrize("what", ["pickle", "cut", "format", "shape", "large", "text"])
def test_what_is_no_evidence_of_ours_is_refused(tmp_path, what, monkeypatch):
    path = tmp_path / NAME
    about = np.frombuffer(json.dumps({"format": 2 if what == "format" else 1}).encode(), np.uint8)
    arrays = {"x/each": np.ones(9)}
    if what == "pickle":
        arrays = {"x/each": np.array([{"a": 1}], dtype=object)}
    elif what == "shape":
        arrays = {"x/each": np.ones((3, 3))}
    elif what == "large":
        monkeypatch.setattr("diffexp.comparison.evidence.MOST", 100)
    np.savez(path, about=about, **arrays)
    if what == "cut":
        path.write_bytes(path.read_bytes()[:100])
    elif what == "text":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("about.npy", "nothing")
    with pytest.raises(DataError, match=rf"evidence cannot be read[\s\S]*{NAME}"):
        load(tmp_path)


def test_a_link_is_not_followed(tmp_path):
    save(tmp_path, Evidence({"x/each": np.ones(3)}))
    (tmp_path / "job").mkdir()
    (tmp_path / "job" / NAME).symlink_to(tmp_path / NAME)
    assert load(tmp_path / "job") is None
