"""Command lines answered in processes forked from one that has imported everything: like `python run.py`, but
in a third of a second.
"""

import contextlib
import logging
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import tempfile
import weakref
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


def run_as_program(typed, folder: Path, said: str, env: dict[str, str], limit: int | None):
    """As the shell would start it: what is said goes to the file `said`, of the whole process and its own."""
    file = os.open(said, os.O_WRONLY | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    sys.stdout, sys.stderr = (os.fdopen(n, "w", 1, encoding="utf-8", closefd=False) for n in (1, 2))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if limit is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    for name in [name for name in logging.root.manager.loggerDict if name.startswith("diffexp")]:
        del logging.root.manager.loggerDict[name]  # Hydra switches off those that are there before it
    os.environ.update(env)
    sys.path[:0] = env.get("PYTHONPATH", "").split(":") if "PYTHONPATH" in env else []
    os.chdir(folder)
    os.environ.pop("HYDRA_FULL_ERROR", None)
    sys.argv = [str(CONF.parent / "run.py"), *typed]
    from diffexp import cli

    sys.exit(cli.main(CONF))


class Started:
    """A command line that goes on beside the test, with what subprocess.Popen has for it.

    limit: bytes that a file may grow to.
    """

    def __init__(self, *typed, cwd: Path, env: dict[str, str] | None = None, limit: int | None = None):
        number, name = tempfile.mkstemp(prefix="said-")
        os.close(number)
        self._said = Path(name)
        weakref.finalize(self, self._said.unlink)
        args = (list(typed), cwd, name, env or {}, limit)
        self._process = PROCESSES.Process(target=run_as_program, args=args)
        self._process.start()
        assert self._process.pid is not None
        self.pid: int = self._process.pid

    @property
    def returncode(self):
        return self._process.exitcode

    def poll(self):
        return self._process.exitcode

    def send_signal(self, number):
        os.kill(self.pid, number)

    def kill(self):
        self._process.kill()

    def wait(self, timeout: float = 240):
        """Raise TimeoutExpired where it has not ended."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            self._process.kill()
            self._process.join()
            raise subprocess.TimeoutExpired(self.said(), timeout)
        return self._process.exitcode

    def said(self) -> str:
        """All that it has written so far."""
        return self._said.read_text()

    def communicate(self, timeout: float = 240):
        """(what it wrote, None), when it has ended."""
        self.wait(timeout)
        return self.said(), None


def finished(*typed, cwd: Path, **more):
    """(exit code, what was said) of a command line."""
    started = Started(*typed, cwd=cwd, **more)
    out, _ = started.communicate()
    return started.returncode, out
