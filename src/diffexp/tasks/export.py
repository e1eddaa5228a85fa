"""task=export: the weights of a run as safetensors, and beside them the configuration that they belong to.

The exported folder is read wherever a run folder is: task.ckpt=FOLDER. Of an adapted run it is a whole model,
whose weights hold what the adapters add; or its adapters alone, with the names and the configuration of peft,
or a new word alone, as diffusers reads it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from safetensors.torch import save_file
from torch import Tensor

from diffexp.adapters.add import merged
from diffexp.adapters.concept import Concept, metadata_of, text_encoder_of
from diffexp.adapters.files import PEFT_CONFIG, peft_config
from diffexp.adapters.kinds import Adapter
from diffexp.errors import ConfigError
from diffexp.files import replacing, write
from diffexp.model.adapter_names import to_peft
from diffexp.model.find import ADAPTER_FILE, CONCEPT_FILE, CONFIG, MODEL_FILE
from diffexp.model.format import FORMAT
from diffexp.model.restore import Restored, restore
from diffexp.model.trainable import Full, detached
from diffexp.model.weights import average_of
from diffexp.run.console import near, say
from diffexp.run.folder import Record
from diffexp.run.job import Job, Task
from diffexp.run.ready import SAMPLING, base_typed, codec_of
from diffexp.training.tracker import Artifact


@dataclass(frozen=True)
class Export(Task):
    """ckpt: a checkpoint or a run folder; ema: the averaged weights, or those being trained; merge: of an
    adapted run, a whole model, or False for its adapters alone.
    """

    ckpt: str
    ema: bool | float = True
    merge: bool = True
    tracked: ClassVar[bool] = False

    def check(self, job: Job) -> None:
        restored = self._restored(job)
        if not self.merge and not isinstance(restored.tune, Adapter | Concept):
            raise ConfigError("this run has no adapters", "task.merge", "leave task.merge away")

    def _restored(self, job: Job) -> Restored:
        plugins = job.config["plugins"]
        return restore(self.ckpt, self.ema, plugins, codec=codec_of(job), base=base_typed(job))

    def run(self, job: Job, record: Record) -> None:
        restored = self._restored(job)
        if isinstance(restored.tune, Adapter | Concept) and not self.merge:
            path = _alone(restored, restored.tune, job.folder)
            more = {"base_file": str(restored.model.denoiser.network.source)}
        else:
            restored, more = merged(restored) if restored.tune.needs_base else restored, {}
            path = _save(Full().state(restored.model), job.folder / MODEL_FILE)
        description = {
            "format": FORMAT,
            "base": dict(restored.base),
            "learned": restored.model.conditioning.learned(),
            "codec": restored.model.codec.learned(),
            "shape": list(restored.model.shape),
            "classes": restored.class_names and list(restored.class_names),
            "step": restored.step,
            "ema": self.ema is not False,
            "config": {
                "model": self._model(restored),
                "precision": restored.config["precision"],
                "choices": restored.config.get("choices", {}),
                **{group: restored.config[group] for group in SAMPLING},
            },
        }
        if more:
            description |= {"base_file": more["base_file"]}
            description["config"] |= {"tune": restored.config["tune"]}
        write(job.folder / CONFIG, json.dumps(description, indent=1, ensure_ascii=False) + "\n")
        size = path.stat().st_size
        record.results |= {"file": str(path), "bytes": size, "step": restored.step}
        say(f"{near(path)}, {_size(size)}, of step {restored.step}, and {CONFIG}")

    def _model(self, restored: Restored) -> dict[str, Any]:
        """Return the configuration of the model, with the average alone that the file holds."""
        node, ema = restored.config["model"], restored.config["model"]["ema"]
        average = average_of(self.ema, ema["decays"], restored.path)
        return node if average is None else {**node, "ema": {**ema, "decays": [ema["decays"][average]]}}

    def artifact(self, job: Job, results: Mapping[str, Any]) -> Artifact:
        """Return what a tracker keeps of it."""
        file = Path(results["file"]).name
        names = [file, CONFIG, *([PEFT_CONFIG] if file == ADAPTER_FILE else [])]
        files = {name: job.folder / name for name in names}
        return Artifact("model", "model", files, ["export"], {"step": results["step"], "ema": self.ema})


def _size(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size > 1e6 else f"{size / 1e3:.1f} kB"


def _save(state: Mapping[str, Tensor], path: Path, about: dict[str, str] | None = None) -> Path:
    with replacing(path) as part:
        save_file({name: value.contiguous() for name, value in detached(state).items()}, part, about)
    return path


def _alone(restored: Restored, tune: Adapter | Concept, folder: Path) -> Path:
    """Write the adapters alone, as peft reads them, or the new word, as diffusers does; return the file."""
    if isinstance(tune, Concept):
        vectors = text_encoder_of(restored.model, "tune").concepts.vectors()
        return _save({tune.word: vectors[tune.word]}, folder / CONCEPT_FILE, metadata_of(restored.base))
    state = tune.state(restored.model)
    write(folder / PEFT_CONFIG, json.dumps(peft_config(tune, restored.model), indent=1) + "\n")
    return _save({to_peft(name): value for name, value in state.items()}, folder / ADAPTER_FILE)
