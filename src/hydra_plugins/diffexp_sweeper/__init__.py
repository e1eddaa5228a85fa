"""hydra/sweeper=diffexp: Hydra's own grid, whose jobs are composed once. Hydra finds plug-ins here."""

from collections.abc import Sequence
from dataclasses import dataclass

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_store import ConfigStore

from hydra_plugins.diffexp_launcher import DiffexpLauncher


@dataclass
class Conf:
    """params: key -> values, as in hydra/sweeper=basic."""

    _target_: str = "hydra_plugins.diffexp_sweeper.DiffexpSweeper"
    max_batch_size: int | None = None
    params: dict[str, str] | None = None


ConfigStore.instance().store(group="hydra/sweeper", name="diffexp", node=Conf, provider="diffexp")


class DiffexpSweeper(BasicSweeper):
    """Leaves it to our launcher to find out whether a job can be composed: it composes all of them before it
    begins one, and each takes a tenth of a second.
    """

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        if not isinstance(self.launcher, DiffexpLauncher):
            super().validate_batch_is_legal(batch)
