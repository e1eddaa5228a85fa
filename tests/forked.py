"""Command lines answered in processes forked from one that has imported everything: like `python run.py`, but
in a third of a second.
"""

import contextlib
import multiprocessing
import os
import sys
from pathlib import Path

from commands import CONF

PRELOAD = [
    "hydra", "lightning", "torchmetrics", "torch_fidelity", "torchvision", "sklearn.svm",
    "diffexp.data", "diffexp.metrics", "diffexp.samplers", "diffexp.training", "diffexp.networks",
    "diffexp.cli", "diffexp.tasks.train", "diffexp.config.hydra_errors",
]  # fmt: skip
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(PRELOAD)


def answer(typed, folder: Path, said: Path, errors: Path | None = None):
    from diffexp import cli

    os.chdir(folder)
    os.environ.pop("HYDRA_FULL_ERROR", None)
    sys.argv = ["run.py", *typed]
    with contextlib.ExitStack() as files:
        out = files.enter_context(said.open("w"))
        err = files.enter_context(errors.open("w")) if errors else out
        with contextlib.redirect_stderr(err), contextlib.redirect_stdout(out):
            code = cli.main(CONF)
    sys.exit(code)


def forked(typed, folder: Path, said: Path, seconds: float = 60, errors: Path | None = None):
    """(exit code, None where there was none in time; what was said, also in the file `said`). errors: a file
    of its own for stderr.
    """
    process = PROCESSES.Process(target=answer, args=(list(typed), folder, said, errors))
    process.start()
    process.join(seconds)
    code = process.exitcode
    process.kill()
    return code, said.read_text() if said.exists() else ""
