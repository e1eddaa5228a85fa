"""What adapters add to a weight, by the formulas of kinds.py: for sums of adapters and for merging."""

import math
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from diffexp.errors import DataError

Parts = Mapping[str, Tensor]
_PART = re.compile(
    r"(.+)\.(lora_A|lora_B|lora_magnitude_vector|hada_w[12]_[ab]|lokr_w[12](?:_[ab])?)(?:\.default)?(?:\.weight)?",
    re.DOTALL,
)
_DO = "give a run of tune=lora, locon, dora, loha or lokr, or a file of the same kinds"


def by_layer(state: Mapping[str, Tensor], path: Path) -> dict[str, dict[str, Tensor]]:
    """Return the parts of the adapter of each layer, by the names of both. Raises DataError for others."""
    layers = dict[str, dict[str, Tensor]]()
    for name, value in state.items():
        match = _PART.fullmatch(name)
        if match is None:
            raise DataError(f"{name[:200]} is no weight of an adapter that is known here", str(path), _DO)
        layers.setdefault(match[1], {})[match[2]] = value.detach().double()
    return layers


def rank_of(parts: Parts) -> int | None:
    """Return the rank of an adapter, None for a Kronecker product of two whole matrices."""
    inner = [
        parts[name].shape[0] for name in ("lora_A", "hada_w1_b", "lokr_w2_b", "lokr_w1_b") if name in parts
    ]
    return inner[0] if inner else None


def change(parts: Parts, weight: Tensor, scale: float) -> Tensor:
    """Return what an adapter adds to a weight, float64, of its shape; scale: s. Raises ValueError,
    RuntimeError or KeyError for parts that do not fit together, or to the weight.
    """
    w = weight.detach().double()
    most = w.numel()
    if "hada_w1_a" in parts:
        a, b = (_product(parts[f"hada_w{i}_a"], parts[f"hada_w{i}_b"], most) for i in (1, 2))
        made = a * b
    elif any(name.startswith("lokr") for name in parts):
        first, second = _factor(parts, "lokr_w1", most), _factor(parts, "lokr_w2", most)
        _check_size(first.numel() * second.numel(), most)
        made = torch.kron(first.reshape(*first.shape, *[1] * (second.ndim - 2)), second)
    else:
        made = _product(parts["lora_B"].flatten(1), parts["lora_A"].flatten(1), most)
    _check_size(made.numel(), most)
    made = scale * made.reshape(w.shape)
    magnitude = parts.get("lora_magnitude_vector")
    if magnitude is None:
        return made
    whole = w + made
    sides = (-1, *[1] * (w.ndim - 1))
    return magnitude.view(sides) / whole.flatten(1).norm(dim=1).view(sides) * whole - w


def _factor(parts: Parts, name: str, most: int) -> Tensor:
    return parts[name] if name in parts else _product(parts[f"{name}_a"], parts[f"{name}_b"], most)


def _product(a: Tensor, b: Tensor, most: int) -> Tensor:
    """Return a b. Raises ValueError for more numbers than the weight has: a small file may ask for any."""
    if (size := a.shape[0] * b.shape[1]) > most:
        _check_size(size, most)
    return a @ b


def _check_size(numbers: int, wanted: int) -> None:
    if numbers != wanted:
        raise ValueError(f"it changes {numbers:,} numbers of a weight of {wanted:,}")


def scale_of(alpha: float | None, rank: int | None, stabilised: bool = False) -> float:
    """Return s of an adapter of a file: alpha/rank, or alpha/√rank; 1 where one of them is not said."""
    if alpha is None or rank is None:
        return 1.0
    return alpha / (math.sqrt(rank) if stabilised else rank)
