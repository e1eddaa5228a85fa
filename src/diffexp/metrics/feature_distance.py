"""The distance of two images as a small classifier sees them: a part of the loss, with nothing to download.

As LPIPS (Zhang et al. 2018) without its learned weights: the maps behind each activation, made unit vectors
over their channels, their squared distance averaged over the places, summed over the maps.
"""

import torch
from torch import Tensor, nn

from diffexp.errors import ConfigError
from diffexp.metrics.classifier import SmallClassifier


class FeatureDistance:
    """The term above. scale: its factor; weights: those of a classifier, digits, mnist or fashion_mnist,
    which are shipped, or a file that `python -m diffexp.metrics.train_classifier` wrote.
    """

    def __init__(self, scale: float = 1.0, weights: str = "fashion_mnist") -> None:
        if scale < 0:
            raise ConfigError(f"scale={scale}", "terms.features.scale", "give 0 or more")
        self.scale, self.weights = scale, weights
        self._trunk: SmallClassifier | None = None

    def check(self) -> None:
        """Raise DataError where there are no such weights."""
        self._loaded()

    def check_shape(self, shape: tuple[int, int, int], where: str = "terms.features") -> None:
        """Raise ConfigError for images (C, H, W) of another shape than those of the classifier."""
        trunk = self._loaded()
        if shape != trunk.shape:
            size, other = ("x".join(map(str, s)) for s in (trunk.shape, shape))
            what = f"the classifier of {trunk.data} sees images of {size}, not {other}"
            do = "give the weights of one of such images, or type terms=lpips or terms=none"
            raise ConfigError(what, f"{where}.weights", do)

    def __call__(self, x0_hat: Tensor, x0: Tensor) -> Tensor:
        """Map images (B, 1, H, W) in [−1, 1] to (B,); its gradient goes to x0_hat."""
        trunk = self._loaded().to(x0.device)
        total, pair = torch.zeros(len(x0), device=x0.device), torch.cat([x0_hat, x0]).float()
        for layer in trunk.body:
            if isinstance(layer, nn.Flatten):
                break
            pair = layer(pair)
            if isinstance(layer, nn.SiLU):
                a, b = (part / (part.norm(dim=1, keepdim=True) + 1e-10) for part in pair.chunk(2))
                total = total + (a - b).square().sum(1).mean((1, 2))
        return total.to(x0_hat.dtype)

    def _loaded(self) -> SmallClassifier:
        if self._trunk is None:
            self._trunk = SmallClassifier(self.weights)
        return self._trunk
