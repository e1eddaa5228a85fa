"""task=stats: write mean and covariance of the features of real images, for pytorch-fid and EDM."""

import io
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from diffexp.data import DataSet
from diffexp.errors import ConfigError, DataError
from diffexp.files import write
from diffexp.metrics import MetricSet, reference
from diffexp.run.console import near, say
from diffexp.run.folder import Record
from diffexp.run.job import Job, Task, device_of


@dataclass(frozen=True)
class Stats(Task):
    """split: of the data that is typed; the extractor is that of the metrics."""

    split: Literal["train", "val", "test"] = "train"
    tracked: ClassVar[bool] = False

    def check(self, job: Job) -> None:
        data: DataSet = job.build("data")
        metrics: MetricSet = job.build("metrics")
        if metrics.extractor is None:
            raise ConfigError("metrics=none has no extractor", "metrics", "type metrics=inception or digits")
        data.check()
        metrics.extractor.check(data.shape)

    def run(self, job: Job, record: Record) -> None:
        data: DataSet = job.build("data")
        extractor = job.build("metrics").extractor
        extractor.check(data.shape)
        extractor.to(device_of(job))
        stats = reference.whole(data, self.split, extractor, reference.CACHE)
        path = job.folder / f"{data.name}_{self.split}_{extractor.name}.npz"
        mean, covariance = stats.mean.cpu().numpy(), stats.covariance.cpu().numpy()
        if stats.n < 2 or not (np.isfinite(mean).all() and np.isfinite(covariance).all()):
            what = f"{int(stats.n)} images of the {self.split} split have no finite covariance of features"
            raise DataError(what, "task.split", "give another split, or more images")
        content = io.BytesIO()
        np.savez(content, mu=mean, sigma=covariance, n=int(stats.n))
        write(path, content.getvalue())
        record.results |= {
            "file": str(path),
            "n": int(stats.n),
            "extractor": extractor.name,
            "sha256": extractor.sha256,
            "fingerprint": data.fingerprint(self.split),
        }
        say(f"{near(path)}: mu {mean.shape}, sigma {covariance.shape} of {int(stats.n):,} images")
