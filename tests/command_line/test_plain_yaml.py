"""YAML of a run's folder is read as PyYAML reads it, and a bomb in it costs neither stack nor time."""

import time

import pytest
import yaml
from commands import CONF

from diffexp.config.untrusted import read_yaml
from diffexp.errors import DataError
from diffexp.report.read_runs import _identity

FIXTURES = CONF.parent / "tests" / "fixtures"
FORMS = (
    "", "# only a comment\n", "a: 1e3\nb: 1.0e+3\nc: .nan\nd: -.inf\ne: 0x1f\nf: 0o7\ng: 1_000\nh: 12:30\n",
    "a: 2026-01-01\nb: yes\nc: ~\nd: ''\ne: 'it''s'\nf: \"\\u00e9\\x41\"\n",
    "a: |\n  x\n  y\nb: >-\n  x\n  y\n",
    "a: \U0001f600\nb: \u00e9x\n",
    "a: &x {b: 1}\nc:\n  <<: *x\n  d: *x\n", "a: 1\r\nb: 2\r\n", "\ufeffa: 1\n",
)  # fmt: skip


def test_it_is_read_as_pyyaml_reads_it(tmp_path):
    files = [*sorted(FIXTURES.rglob("*.yaml")), *sorted((CONF / "experiment").glob("*.yaml"))]
    for k, text in enumerate(FORMS):
        files.append(tmp_path / f"{k}.yaml")
        files[-1].write_bytes(text.encode())
    for file in files:
        expected = yaml.load(file.read_bytes(), Loader=yaml.SafeLoader)
        assert repr(read_yaml(file)) == repr(expected), file
    assert len(files) > 20


BOMBS = {
    "- " * 100_000 + "a": "nested deeper", "? " * 100_000 + "a": "nested deeper",
    "{a: " * 100_000: "nested deeper", "a: " + "1:" * 100_000 + "1": "more than 1,000 signs",
    "a: " + "1:" * 400 + "1.5": "too large", "a: !!python/name:os.system x": "could not determine",
}  # fmt: skip


@pytest.mark.parametrize(("text", "said"), BOMBS.items(), ids=range(len(BOMBS)))
def test_a_bomb_is_refused_at_once(tmp_path, text, said):
    (tmp_path / "config.yaml").write_text(text)
    start = time.process_time()
    with pytest.raises(DataError, match=f"no plain YAML: .*{said}"):
        read_yaml(tmp_path / "config.yaml")
    assert time.process_time() - start < 5


def test_a_run_whose_configuration_is_a_bomb_is_one_of_its_own(tmp_path):
    """Aliases of aliases that task=compare would write out."""
    lines = [f"{b}: &{b} [{','.join([f'*{a}'] * 9)}]" for a, b in zip("abcdefghi", "bcdefghij", strict=True)]
    (tmp_path / "config.yaml").write_text("\n".join(["a: &a [x, x]", *lines]))
    assert _identity(tmp_path) == str(tmp_path.resolve())


def test_runs_that_differ_by_their_seed_and_their_folder_are_one(tmp_path):
    """The folder of its checkpoints lies in that of the run, and is in its configuration."""
    same = set[str]()
    for seed in (1, 2):
        folder = tmp_path / str(seed)
        folder.mkdir()
        config = {
            "seed": seed,
            "dir": str(folder),
            "callbacks": {"checkpoint": {"folder": f"{folder}/checkpoints"}},
        }
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        same.add(_identity(folder))
    assert len(same) == 1 and "checkpoints" in same.pop()
