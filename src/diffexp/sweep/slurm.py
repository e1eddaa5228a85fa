"""Jobs of a sweep through submitit: in Slurm's queue, or in processes of this machine.

Whether a job of Slurm has ended is asked of squeue, one call for all of them, and not, as submitit does, of
sacct: where a cluster keeps no accounts that fails, and a job that was killed would be waited for for ever.
"""

import os
import re
import secrets
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from diffexp.errors import ConfigError, ResourceError
from diffexp.escape import first_line, line
from diffexp.run.results import remove_if_empty
from diffexp.sweep.cluster import Lost
from diffexp.sweep.worker import News

ASK = 5.0  # seconds from one look at the queue to the next
GRACE = 15.0  # seconds that an answer may take to be seen here, after the job has left the queue


class Queue:
    """The jobs of this user in Slurm's queue."""

    def __init__(self) -> None:
        self._there: set[str] | None = None
        self._asked = 0.0
        self._missed: dict[str, float] = {}

    def gone(self, job: str) -> bool:
        """Return whether a job has been out of the queue for some time. False while Slurm does not answer."""
        now = time.monotonic()
        if now - self._asked > ASK:
            self._there, self._asked = self._look(), now
        if self._there is None or job in self._there:
            self._missed.pop(job, None)
            return False
        return now - self._missed.setdefault(job, now) > GRACE

    @staticmethod
    def _look() -> set[str] | None:
        jobs = _output("squeue", "--noheader", f"--user={os.getuid()}", "--format=%i")
        return None if jobs is None else set(jobs.split())


def last_state(job: str) -> str:
    """Return Slurm's state of a job that has ended, such as FAILED, TIMEOUT, OUT_OF_MEMORY or NODE_FAIL."""
    match = re.search(r"JobState=(\w+)", _output("scontrol", "--oneliner", "show", "job", str(job)) or "")
    return match[1] if match else "unknown"


def _output(*command: str) -> str | None:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    except (OSError, subprocess.SubprocessError):
        return None


class Submitit:
    """Slurm, or processes of this machine that submitit looks after as it does after those of Slurm.

    kind: slurm, local, or null for slurm where there is one. folder: of submitit's own files, seen by all
    machines. options: submitit's, such as timeout_min, gpus_per_node, slurm_partition.
    """

    def __init__(
        self, kind: Literal["slurm", "local"] | None, folder: str, options: Mapping[str, Any]
    ) -> None:
        self.kind, self.folder, self.options = kind, folder, dict(options)

    def check(self) -> None:
        try:
            import submitit
        except ImportError as error:
            do = "pip install 'diffexp[submitit]'"
            raise ConfigError("submitit is not installed", "hydra/launcher", do) from error
        try:
            # a name that nobody can know: submitit unpickles the answers that it finds there
            own = Path(self.folder) / secrets.token_hex(4)
            self._executor = submitit.AutoExecutor(own, cluster=self.kind)
            own.chmod(0o700)  # its pickles of the jobs hold what was typed, secrets too
            remove_if_empty(own)  # until a job is submitted
            self._executor.update_parameters(**self.options)
            self._on_slurm, self._queue = self._executor.cluster == "slurm", Queue()
        except RuntimeError as error:
            do = "type hydra/launcher=submitit_local, or run it on a node that has sbatch"
            raise ConfigError(f"there is no Slurm here ({error})", "hydra/launcher", do) from error
        except (TypeError, NameError, ValueError) as error:
            do = "give options of submitit's update_parameters"
            raise ConfigError(first_line(error), "hydra.launcher.cluster.options", do) from error

    def submit(self, job: Callable[[], News]) -> Any:
        from submitit.core.utils import FailedJobError

        try:
            return self._executor.submit(job)
        except FailedJobError as error:
            last = line(str(error).strip().rpartition("\n")[2])
            do = "give options that it takes, such as slurm_partition, or ask with fewer jobs"
            raise ResourceError(f"Slurm did not take the job: {last}", "hydra.launcher", do) from error

    def ended(self, ticket: Any) -> bool:
        if ticket.paths.result_pickle.exists():
            return True
        return self._queue.gone(str(ticket.job_id)) if self._on_slurm else ticket.done()

    def answer(self, ticket: Any) -> News:
        from submitit.core.utils import UncompletedJobError

        who = f"(submitit's job {ticket.job_id})"
        if self._on_slurm and not ticket.paths.result_pickle.exists():  # else submitit would wait for it
            raise Lost(f"its process ended without an answer, in state {last_state(ticket.job_id)} {who}")
        try:
            return ticket.result()
        except UncompletedJobError as error:
            raise Lost(f"its process ended without an answer, in state {ticket.state} {who}") from error

    def cancel(self, ticket: Any) -> None:
        ticket.cancel(check=False)
