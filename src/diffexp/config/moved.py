"""The names that classes have now, by those in older runs, checkpoints and options of one's own, and the keys
that those lack.
"""

from collections.abc import Mapping
from typing import Any

_TASKS = (
    "train.Train", "sample.Sample", "evaluate.Evaluate", "encode.Encode", "interpolate.Interpolate",
    "likelihood.Likelihood", "measure.Measure", "classifier.Classifier", "export.Export", "stats.Stats",
    "selftest.SelfTest", "workspace.Workspace",
)  # fmt: skip
_ROOM = {f"diffexp.experiment.{name}": f"diffexp.tasks.{name}" for name in _TASKS} | {
    "diffexp.experiment.report_task.Report": "diffexp.tasks.report.Report",
    "diffexp.diffusion.ClassLabel": "diffexp.conditioning.ClassLabel",
    "diffexp.diffusion.Unconditional": "diffexp.conditioning.Unconditional",
    "diffexp.diffusion.Pixels": "diffexp.codecs.Pixels",
    "diffexp.metrics.Clip": "diffexp.metrics.CLIPEmbedding",
    "diffexp.experiment.slurm.Submitit": "diffexp.sweep.slurm.Submitit",
    "diffexp.experiment.cluster.Ray": "diffexp.sweep.cluster.Ray",
}
MOVED = {
    "diffexp.data.DataModule": "diffexp.training.DataModule",
    "diffexp.training.tracker.Wandb": "diffexp.training.Wandb",
    "diffexp.metrics.pretrained.Clip": "diffexp.metrics.CLIPEmbedding",
} | _ROOM
_FIRST = {new: old for old, new in _ROOM.items()}

_CAPTION = {
    "_target_": "diffexp.data.Captions", "lines": False, "clean": [], "shuffle": False, "keep": 0,
    "dropout": 0.0, "prefix": "", "suffix": "",
}  # fmt: skip
_FULL: dict[str, Any] = {
    "_target_": "diffexp.model.trainable.Full",
    "freeze": [],
    "rates": None,
    "base": None,
}
LATER: dict[str, Any] = {
    "links": "refuse", "download": True, "text": None, "negative": None, "init": None, "time": "t",
    "artifacts": False, "prompts": None, "partial": 0.0, "caption": _CAPTION,
    "captions": "val", "reference": None,
    "context": None, "token_norm": False, "feed_forward": False, "transformer_depth": 0,
    "tune": _FULL, "adapters": None, "adapter_scales": None, "merge": True,
    "without": [], "concept": None, "drift": 0, "buckets": None, "size": None, "resize": "tensorflow",
    "crop": "centre", "picture": None, "shift": 1.0, "max_time": None, "max_flops": None,
    "brownian": False,
}  # fmt: skip
"""Keys that came later, with the value that leaves everything as it was: jobs done before stay done."""
_NONE = object()


def is_neutral(key: str, value: Any) -> bool | None:
    """Return whether a key, with dots, that a job did not have leaves everything as it was; None for a key
    that came with the first version.
    """
    *_, outer, name = ("", *key.split("."))
    neutral = LATER.get(name, _NONE)
    if isinstance(inner := LATER.get(outer), Mapping):
        neutral = inner.get(name, _NONE)
    return None if neutral is _NONE else neutral == value


def moved(name: Any) -> Any:
    """Return the name that a class has now; any other value as it is."""
    return MOVED.get(name, name) if isinstance(name, str) else name


def first_names(node: Any) -> Any:
    """Return a configuration with the names that version 0.1.0 gave to the classes: the identity of what a
    job computes is not to change when a class moves.
    """
    if isinstance(node, Mapping):
        return {k: _FIRST.get(v, v) if k == "_target_" else first_names(v) for k, v in node.items()}
    return [first_names(value) for value in node] if isinstance(node, list) else node
