"""hydra/launcher=diffexp: jobs of a sweep in processes of their own, done ones skipped, the report kept up to
date. Hydra finds plug-ins in this namespace package.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict


@dataclass
class Conf:
    """jobs: at a time; threads: of torch in each, null for OMP_NUM_THREADS, or an equal share of the cores;
    cluster: where they run, null for processes of this machine.
    """

    _target_: str = "hydra_plugins.diffexp_launcher.DiffexpLauncher"
    jobs: int = 1
    threads: int | None = None
    cluster: Any = None


Composed = tuple[DictConfig, list[str], dict[str, Any]]
ConfigStore.instance().store(group="hydra/launcher", name="diffexp", node=Conf, provider="diffexp")


class DiffexpLauncher(Launcher):
    """Composes the jobs as Hydra does; the rest is diffexp.experiment.launch."""

    def __init__(self, jobs: int = 1, threads: int | None = None, cluster: Any = None) -> None:
        self.jobs, self.threads, self.cluster = jobs, threads, cluster

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.context, self.config = hydra_context, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        from diffexp.experiment.launch import launch

        composed = self._composed(job_overrides, initial_job_idx)
        launch(self.config, composed, min(self.jobs, len(job_overrides)), self.threads, self.cluster)
        return [JobReturn(_return_value=None, status=JobStatus.COMPLETED) for _ in job_overrides]

    def _composed(self, jobs: Sequence[Sequence[str]], first: int) -> Iterator[Composed]:
        for number, overrides in enumerate(jobs, first):
            cfg = self.context.config_loader.load_sweep_config(self.config, list(overrides))
            with open_dict(cfg):
                cfg.hydra.job.id, cfg.hydra.job.num = str(number), number
                typed, choices = list(cfg.hydra.overrides.task), dict(cfg.hydra.runtime.choices)
                del cfg["hydra"]
            yield cfg, typed, choices
