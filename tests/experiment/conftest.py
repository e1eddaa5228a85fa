"""Jobs in this process: composed by Hydra as the command line does it, run in a temporary folder."""

import pytest
from commands import composed


@pytest.fixture
def job(tmp_path):
    """job(*overrides, folder=...) runs a task and returns its folder."""
    from diffexp.experiment.job import run_job

    def run(*overrides, folder="run"):
        overrides = [f"dir={tmp_path / folder}", *overrides]
        cfg, choices = composed(overrides)
        run_job(cfg, tmp_path / folder, overrides, choices)
        return tmp_path / folder

    return run
