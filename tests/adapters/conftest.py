"""A base of 6 steps, and runs that adapt it, in this process."""

import pytest
from alike import alike
from commands import QUICK, composed

from diffexp.model.checkpoint import read_checkpoint
from diffexp.tasks.run import run_job

LINE = [*QUICK, "metrics=none", "guidance.scale=1", "lr.warmup=1"]
KINDS = ["lora", "locon", "dora", "loha", "lokr"]
SOME = alike(KINDS, ["lora", "loha"])


def go(folder, *typed):
    """Run a command line in a folder; return its results."""
    typed = [*typed, f"dir={folder}"]
    cfg, choices = composed(typed)
    return run_job(cfg, folder, typed, choices)


def held(folder):
    return read_checkpoint(folder / "checkpoints" / "last.ckpt")


class Runs:
    """Runs by what was typed for them, each trained once."""

    def __init__(self, folder):
        self.folder, self.done = folder, {}

    def base(self, *typed):
        return self.trained(*LINE, "optimizer.lr=0.01", *typed)

    def adapted(self, *typed, rate=0.05):
        return self.trained(*LINE, f"init={self.base()}", f"optimizer.lr={rate}", *typed)

    def trained(self, *typed):
        if typed not in self.done:
            folder = self.folder / f"run{len(self.done)}"
            self.done[typed] = folder
            go(folder, *typed)
        return self.done[typed]


@pytest.fixture(scope="session")
def runs(tmp_path_factory):
    return Runs(tmp_path_factory.mktemp("adapters"))
