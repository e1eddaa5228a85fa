"""hydra/launcher=diffexp: jobs of a sweep in processes of their own, done ones skipped, the report kept up to
date. Hydra finds plug-ins in this namespace package.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict


@dataclass
class Conf:
    """The options of the launcher. jobs: at a time; threads: of torch in each, null for OMP_NUM_THREADS, or
    an equal share of the cores; cluster: where they run, null for processes of this machine.
    """

    _target_: str = "hydra_plugins.diffexp_launcher.DiffexpLauncher"
    jobs: int = 1
    threads: int | None = None
    cluster: Any = None


ConfigStore.instance().store(group="hydra/launcher", name="diffexp", node=Conf, provider="diffexp")


class DiffexpLauncher(Launcher):
    """Compose the jobs as Hydra does; the rest is diffexp.sweep.launcher. codes: its exit codes."""

    def __init__(self, jobs: int = 1, threads: int | None = None, cluster: Any = None) -> None:
        self.jobs, self.threads, self.cluster = jobs, threads, cluster
        self.codes: list[int] = []

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.context, self.config = hydra_context, config
        # it goes on with what is left, and raises the exit code at its end
        self.ours = "diffexp" in str(config.hydra.sweeper.get("_target_"))

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        from diffexp.sweep.launcher import launch

        def compose(number: int) -> tuple[DictConfig, dict[str, Any]]:
            return self._composed(list(job_overrides[number]), initial_job_idx + number)

        lines = [[text for text in typed if not _of_hydra(text)] for typed in job_overrides]
        code = launch(self.config, lines, compose, min(self.jobs, len(lines)), self.threads, self.cluster)
        self.codes.append(code)
        if code and not self.ours:
            raise SystemExit(code)
        return [JobReturn(_return_value=None, status=JobStatus.COMPLETED) for _ in job_overrides]

    def _composed(self, overrides: list[str], number: int) -> tuple[DictConfig, dict[str, Any]]:
        cfg = self.context.config_loader.load_sweep_config(self.config, overrides)
        with open_dict(cfg):
            cfg.hydra.job.id, cfg.hydra.job.num = str(number), number
            choices = dict(cfg.hydra.runtime.choices)
            del cfg["hydra"]
        return cfg, choices


def _of_hydra(text: str) -> bool:
    """Return whether an override is one of Hydra's own, which are typed once for all jobs."""
    return text.lstrip("+~").startswith(("hydra.", "hydra/"))
