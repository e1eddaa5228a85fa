"""hydra/sweeper=diffexp: Hydra's own grid, whose jobs are composed once. Hydra finds plug-ins here."""

from collections.abc import Sequence
from dataclasses import dataclass

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn

from hydra_plugins.diffexp_launcher import DiffexpLauncher


@dataclass
class Conf:
    """The options of the sweeper. params: key -> values, as in hydra/sweeper=basic."""

    _target_: str = "hydra_plugins.diffexp_sweeper.DiffexpSweeper"
    max_batch_size: int | None = None
    params: dict[str, str] | None = None


ConfigStore.instance().store(group="hydra/sweeper", name="diffexp", node=Conf, provider="diffexp")


class DiffexpSweeper(BasicSweeper):
    """Leave it to our launcher to find out whether a job can be composed: each takes a tenth of a second.

    It writes no multirun.yaml, in which secrets would be, and which may be a link: plan.json is in its place.
    """

    def sweep(self, arguments: list[str]) -> list[Sequence[JobReturn]]:
        assert self.hydra_context is not None and self.launcher is not None
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        overrides = parser.parse_overrides([*self._parse_config(), *arguments])
        returns, first = list[Sequence[JobReturn]](), 0
        for batch in self.split_arguments(overrides, self.max_batch_size):
            self.validate_batch_is_legal(batch)
            returns.append(self.launcher.launch(batch, initial_job_idx=first))
            first += len(batch)
            for job in returns[-1]:
                _ = job.return_value  # raises what the job has raised
        if code := next(filter(None, getattr(self.launcher, "codes", ())), 0):
            raise SystemExit(code)
        return returns

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        if not isinstance(self.launcher, DiffexpLauncher):
            super().validate_batch_is_legal(batch)
