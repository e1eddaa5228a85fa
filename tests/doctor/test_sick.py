"""The doctor finds out each run of benchmarks/sick.py, and has nothing against a healthy one."""

import subprocess
import sys

import pytest
from commands import CONF

ROOT = CONF.parent


@pytest.mark.slow
def test_each_sickness_is_named_first_or_second(tmp_path):
    run, sick = str(ROOT / "run.py"), str(ROOT / "benchmarks" / "sick.py")
    subprocess.run([sys.executable, run, f"dir={tmp_path / 'digits'}", "logger=none"], check=True)
    line = [sys.executable, sick, str(tmp_path / "digits"), "--folder", str(tmp_path / "sick")]
    done = subprocess.run(line, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
