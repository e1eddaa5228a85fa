"""What is measured once of a checkpoint and kept as JSON: damage is found, and costs time alone."""

import json

import pytest

from diffexp.errors import DataError
from diffexp.run import calibrate

WANT = [[-1.0, 0.125], [-1.0, 2.5]]


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """kept() -> (what is found, whether it was made); kept.file: where it is."""
    monkeypatch.setattr(calibrate, "CACHE", str(tmp_path / "cache"))

    def run(name="weights", want=WANT):
        made = []
        found = calibrate._kept(name, "errors", lambda: made.append(1) or want)
        return found, bool(made)

    assert run() == (WANT, True) and run() == (WANT, False)
    (run.file,) = (tmp_path / "cache").iterdir()
    return run


def test_one_flipped_bit_anywhere_changes_no_number(kept, capsys):
    whole = kept.file.read_bytes()
    for at in range(len(whole)):
        damaged = bytearray(whole)
        damaged[at] ^= 1 << at % 7
        kept.file.write_bytes(damaged)
        capsys.readouterr()
        found, made = kept()
        assert found == WANT and (made == ("measured again" in capsys.readouterr().out)), damaged
    kept.file.write_bytes(whole)
    assert kept() == (WANT, False)


@pytest.mark.parametrize(
    "content",
    ["", "[]", "null", "7", "{}", json.dumps(WANT), '{"value": [[1.0]]}', '{"sha256": "", "value": []}', "["],
)
def test_a_file_of_anything_else_is_made_again(kept, capsys, content):
    kept.file.write_text(content)
    assert kept() == (WANT, True) and capsys.readouterr().out.count("measured again") == 1
    assert kept() == (WANT, False)


def test_a_file_of_other_weights_is_not_taken(kept, tmp_path):
    assert kept("others")[1]
    one, other = (tmp_path / "cache").iterdir()
    one.write_bytes(other.read_bytes())
    other.write_bytes(one.read_bytes())
    assert [kept(name)[1] for name in ("weights", "others")].count(True) == 1


def test_a_folder_that_cannot_be_written_costs_time(kept, tmp_path, monkeypatch, capsys):
    (tmp_path / "file").touch()
    monkeypatch.setattr(calibrate, "CACHE", str(tmp_path / "file" / "cache"))
    assert kept() == (WANT, True) and "not kept for the next run" in capsys.readouterr().out


def test_what_is_not_finite_is_neither_kept_nor_used(kept):
    with pytest.raises(DataError, match="errors of this checkpoint are not finite"):
        kept("diverged", [[float("nan")]])
    assert kept("diverged") == (WANT, True)
