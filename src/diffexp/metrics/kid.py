"""KID: the unbiased squared distance of mean features under a cubic kernel (Bińkowski et al. 2018)."""

from typing import Literal

import torch
from torch import Tensor

from diffexp.errors import ConfigError, check_at_most
from diffexp.metrics import reference as real
from diffexp.metrics.features import Bank
from diffexp.metrics.metric import Card

_ROWS = 2048  # of a matrix of kernels at a time
_MOST = 10_000  # images that each is compared with


class KID(Bank):
    """Keys kid_<extractor> and kid_std_<extractor>: mean and standard deviation over random subsets, as
    torch-fidelity takes them. Unlike FID it does not depend on how many images there are.
    """

    name = "KID"

    def __init__(
        self,
        reference: Literal["train", "val", "test"] = "train",
        subsets: int = 100,
        subset_size: int = 1000,
        most: int = 10_000,
        cache: str | None = real.CACHE,
    ) -> None:
        super().__init__(reference, most, cache)
        if subsets < 1 or subset_size < 2:
            what = f"subsets={subsets}, subset_size={subset_size}"
            raise ConfigError(what, "metrics", "give 1 or more subsets of 2 or more images")
        check_at_most(10_000, "metrics", subsets=subsets)
        self.subsets, self.subset_size = subsets, subset_size

    def of(self, real_features: Tensor, generated: Tensor) -> dict[str, float]:
        from torch_fidelity.metric_kid import kid_features_to_metric

        size = min(self.subset_size, len(real_features), len(generated))
        self._card["subset_size"] = size
        distances = kid_features_to_metric(
            generated, real_features, kid_subsets=self.subsets, kid_subset_size=size, verbose=False
        )
        self.each = {"kid": _each(generated, real_features)}
        mean, std = (distances[f"kernel_inception_distance_{k}"] for k in ("mean", "std"))
        return {"kid": float(mean), "kid_std": float(std)}

    def card(self) -> Card:
        return super().card() | {"subsets": self.subsets}


def _each(generated: Tensor, real_features: Tensor) -> Tensor:
    """Return what each generated image adds to the squared distance, to first order, float64 (N,)."""
    y, x = generated[:_MOST].double(), real_features[:_MOST].double()
    parts = list[Tensor]()
    for rows in generated.double().split(_ROWS):
        own = _kernel(rows, rows, pairs=True)
        parts.append(2 * ((_kernel(rows, y).sum(1) - own) / (len(y) - 1) - _kernel(rows, x).mean(1)))
    return torch.cat(parts)


def _kernel(a: Tensor, b: Tensor, pairs: bool = False) -> Tensor:
    """Return (a·b/dim + 1)³ of all pairs, or of each row with its own."""
    return (((a * b).sum(1) if pairs else a @ b.T) / a.shape[1] + 1) ** 3
