"""Keep what a comparison needs of the evaluations of a job, beside its results."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from diffexp.comparison import evidence


class Measured(Protocol):
    """An Evaluation, or Reconstructions."""

    evidence: dict[str, Tensor]
    pairing: dict[str, Any]


def keep_evidence(folder: Path, measured: Mapping[float, Measured]) -> None:
    """Write evidence.npz of evaluations by their guidance scale. Raises ResourceError."""
    arrays = {}
    for scale, result in measured.items():
        for name, values in result.evidence.items():
            key, _, kind = name.rpartition("/")
            arrays[f"{key_at(key, scale, len(measured))}/{kind}"] = values.numpy()
    pairing = next(iter(measured.values())).pairing
    evidence.save(folder, evidence.Evidence(arrays, pairing))


def key_at(metric: str, scale: float, scales: int) -> str:
    """Return the key of a number, with the guidance scale where there are several."""
    return f"{metric}@{scale:g}" if scales > 1 else metric
