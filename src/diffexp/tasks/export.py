"""task=export: the weights of a run as safetensors, and beside them the configuration that they belong to.

The exported folder is read wherever a run folder is: task.ckpt=FOLDER.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from safetensors.torch import save_file

from diffexp.files import replacing, write
from diffexp.model.find import CONFIG, MODEL_FILE
from diffexp.model.format import FORMAT
from diffexp.model.restore import restore
from diffexp.model.trainable import Full, base_of, detached
from diffexp.run.console import near, say
from diffexp.run.folder import Record
from diffexp.run.job import Job, Task
from diffexp.run.ready import SAMPLING, base_typed
from diffexp.training.tracker import Artifact


@dataclass(frozen=True)
class Export(Task):
    """ckpt: a checkpoint or a run folder; ema: the averaged weights, or those being trained."""

    ckpt: str
    ema: bool = True
    tracked: ClassVar[bool] = False

    def check(self, job: Job) -> None:
        restore(self.ckpt, 0 if self.ema else None, job.config["plugins"], base=base_typed(job))

    def run(self, job: Job, record: Record) -> None:
        restored = restore(self.ckpt, 0 if self.ema else None, job.config["plugins"], base=base_typed(job))
        with replacing(job.folder / MODEL_FILE) as part:
            save_file({k: v.contiguous() for k, v in detached(Full().state(restored.model)).items()}, part)
        description = {
            "format": FORMAT,
            "base": base_of(restored.model),
            "learned": restored.model.conditioning.learned(),
            "shape": list(restored.model.shape),
            "classes": restored.class_names and list(restored.class_names),
            "step": restored.step,
            "ema": self.ema,
            "config": {
                "model": restored.config["model"],
                "precision": restored.config["precision"],
                "choices": restored.config.get("choices", {}),
                **{group: restored.config[group] for group in SAMPLING},
            },
        }
        write(job.folder / CONFIG, json.dumps(description, indent=1, ensure_ascii=False) + "\n")
        size = (job.folder / MODEL_FILE).stat().st_size
        record.results |= {"file": str(job.folder / MODEL_FILE), "bytes": size, "step": restored.step}
        say(f"{near(job.folder / MODEL_FILE)}, {size / 1e6:.1f} MB, of step {restored.step}, and {CONFIG}")

    def artifact(self, job: Job, results: Mapping[str, Any]) -> Artifact:
        """Return what a tracker keeps of it."""
        files = {name: job.folder / name for name in (MODEL_FILE, CONFIG)}
        return Artifact("model", "model", files, ["export"], {"step": results["step"], "ema": self.ema})
