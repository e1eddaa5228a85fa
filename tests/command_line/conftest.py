"""Jobs in this process: composed by Hydra as the command line does it, run in a temporary folder."""

import pytest
import torch
from commands import QUICK, composed
from result_form import read_result


@pytest.fixture
def job(tmp_path):
    """job(*overrides, folder=...) runs a task and returns its folder."""
    from diffexp.tasks.run import run_job

    def run(*overrides, folder="run"):
        overrides = [f"dir={tmp_path / folder}", *overrides]
        cfg, choices = composed(overrides)
        run_job(cfg, tmp_path / folder, overrides, choices)
        if (tmp_path / folder / "run.json").exists():  # no dry run
            assert read_result(tmp_path / folder)["status"] == "done"
        return tmp_path / folder

    return run


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    """The folder of a small run, for tests that leave it as it is."""
    from diffexp.tasks.run import run_job

    folder = tmp_path_factory.mktemp("run") / "run"
    overrides = [*QUICK, f"dir={folder}"]
    cfg, choices = composed(overrides)
    run_job(cfg, folder, overrides, choices)
    return folder


@pytest.fixture(scope="session")
def checkpoint(run):
    """What is in its last checkpoint; change a copy."""
    return torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
