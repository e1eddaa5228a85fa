"""How large a run is."""

from dataclasses import dataclass
from typing import ClassVar

from diffexp.model.restore import restore
from diffexp.notice import say
from diffexp.run.folder import Record
from diffexp.run.job import Job


@dataclass(frozen=True)
class Size:
    """ckpt: a checkpoint or a run folder."""

    ckpt: str
    tracked: ClassVar[bool] = False

    def check(self, job: Job) -> None:
        restore(self.ckpt, plugins=job.plugins)

    def run(self, job: Job, record: Record) -> None:
        network = restore(self.ckpt, plugins=job.plugins).model.denoiser.network
        record.results["numbers"] = sum(p.numel() for p in network.parameters())
        say(f"{record.results['numbers']:,} numbers")
