"""Adapters by their kinds: W' = W + s ΔW for the weight W of a layer, s = alpha/rank, W frozen.

    LoRA    ΔW = B A          A: rank x in, B: out x rank, 0 at the start (Hu et al. 2021)
    LoCon   the same for a convolution: k x k to `rank` channels, then 1 x 1 (LyCORIS)
    LoHa    ΔW = (B1 A1) ⊙ (B2 A2), of rank up to rank² (Hyeon-Woo et al. 2022)
    LoKr    ΔW = C ⊗ (B A), or C ⊗ D where the factor is small (LyCORIS; Edalati et al. 2022)
    DoRA    W' = m (W + s B A)/|W + s B A|, the norm over each output, m = |W| at the start (Liu et al. 2024)

One factor begins at 0, so that an adapted model begins as its base. The layers are peft's.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from diffexp.adapters.layers import anchored, chosen, counts, inject, layers_of, names_of, size_of
from diffexp.errors import ConfigError, check_at_most
from diffexp.model.model import Model
from diffexp.model.patterns import check_patterns
from diffexp.model.trainable import Stored, check_rates, compare

ATTENTION = ("*.qkv", "*.q", "*.kv", "*.proj")
CONVOLUTIONS = ("*.conv", "*.conv1", "*.conv2", "*.skip")
MOST_RANK = 1 << 14
Kind = Literal["lora", "loha", "lokr", "dora"]


@dataclass(frozen=True)
class Adapter(Stored):
    """rank, alpha: the change is scaled by alpha/rank, or rank_stabilised by alpha/√rank (Kalajdzievski
    2023); modules: patterns of the layers of the network that get one; text_encoder: its layers as well,
    where it is trained along; rates: factors of the learning rate, by patterns of the adapters' weights.

    dropout: of what goes into an adapter, or with LoHa and LoKr of whole adapters. base: where the run that
    is adapted lies now, None for where init says; "any" to go on with another.
    """

    rank: int = 4
    alpha: float = 4.0
    dropout: float = 0.0
    modules: tuple[str, ...] = ATTENTION
    text_encoder: bool = False
    rank_stabilised: bool = False
    rates: Mapping[str, float] | None = None
    base: str | None = None
    needs_base: ClassVar[bool] = True
    kind: ClassVar[Kind] = "lora"

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise ConfigError(f"rank={self.rank}", "tune.rank", "give 1 or more, e.g. 4")
        check_at_most(MOST_RANK, "tune", rank=self.rank)
        if not 0 < self.alpha < float("inf"):
            raise ConfigError(f"alpha={self.alpha}", "tune.alpha", "give a number above 0, e.g. the rank")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"dropout={self.dropout}", "tune.dropout", "give a share in [0, 1)")
        check_patterns(self.modules, "tune.modules")
        check_rates(self.rates)

    @property
    def scale(self) -> float:
        """The factor of the change."""
        return self.alpha / (math.sqrt(self.rank) if self.rank_stabilised else self.rank)

    def apply(self, model: Model, empty: bool = False) -> str:
        layers, every = chosen(model, self.modules, self.text_encoder), len(layers_of(model))
        inject(model, lambda peft: self.config(peft, anchored(list(layers))), empty)
        model.note()
        numbers = sum(p.numel() for p in self.parameters(model))
        line = f"{type(self).__name__}: {numbers:,} numbers of rank {self.rank} in {len(layers)} of "
        line += f"{every} layers ({counts(model, self.modules, layers)})"
        small = [name for name, layer in layers.items() if self.largest() > size_of(layer.weight)]
        if small:
            line += f"\n  the rank is above the size of {len(small)} of them, where it adds nothing: "
            line += names_of(small)
        return line

    def largest(self) -> int:
        """Return the largest rank that a change can have, whatever the size of the layer."""
        return self.rank

    def config(self, peft: Any, targets: str) -> Any:
        """Return peft's configuration; targets: a regular expression of the names of the layers."""
        return peft.LoraConfig(
            r=self.rank, lora_alpha=self.alpha, lora_dropout=self.dropout, target_modules=targets,
            use_rslora=self.rank_stabilised, use_dora=self.kind == "dora",
        )  # fmt: skip

    def load(self, model: Model, state: Mapping[str, Any], path: Path) -> None:
        own = self.state(model)
        compare(own, state, path)
        for name, value in own.items():
            if not value.is_meta:
                value.detach().copy_(state[name])
        empty = {name: state[name].to(value.dtype, copy=True) for name, value in own.items() if value.is_meta}
        model.load_state_dict(empty, strict=False, assign=True)


@dataclass(frozen=True)
class LoRA(Adapter):
    """A product of two thin matrices for each projection of attention. Hu et al. 2021."""


@dataclass(frozen=True)
class LoCon(Adapter):
    """LoRA for convolutions as well. LyCORIS."""

    modules: tuple[str, ...] = ATTENTION + CONVOLUTIONS


@dataclass(frozen=True)
class DoRA(Adapter):
    """LoRA for the direction of the weights, and their lengths beside it. Liu et al. 2024."""

    kind: ClassVar[Kind] = "dora"


@dataclass(frozen=True)
class LoHa(LoCon):
    """The elementwise product of two such products: of higher rank for its size. Hyeon-Woo et al. 2022."""

    kind: ClassVar[Kind] = "loha"

    def largest(self) -> int:
        return 0  # of rank², and legal where the layer is smaller

    def config(self, peft: Any, targets: str) -> Any:
        return peft.LoHaConfig(**self._options(targets))

    def _options(self, targets: str) -> dict[str, Any]:
        # peft's scale is alpha/r here, whatever is asked for
        options = {"r": self.rank, "alpha": self.scale * self.rank, "target_modules": targets}
        return options | {"module_dropout": self.dropout}


@dataclass(frozen=True)
class LoKr(LoHa):
    """A Kronecker product. factor: of the smaller one of its two parts, -1 for one near the square root."""

    factor: int = -1
    kind: ClassVar[Kind] = "lokr"

    def config(self, peft: Any, targets: str) -> Any:
        return peft.LoKrConfig(**self._options(targets), decompose_factor=self.factor)
