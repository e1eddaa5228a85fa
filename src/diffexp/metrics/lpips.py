"""LPIPS, the distance of two images as a network sees them (Zhang et al. 2018), as a part of the loss.

torchmetrics has the distance and its five weighted sums; the trunk is torchvision's, from a file.
"""

import hashlib
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from diffexp.errors import ConfigError, DataError
from diffexp.hub import at, is_file, reason
from diffexp.metrics.weights import check_floats, state_dict

FILES = {
    "vgg": "vgg16-397923af.pth",
    "squeeze": "squeezenet1_1-b8a52dc0.pth",
    "alex": "alexnet-owt-7be5be79.pth",
}


class LPIPS:
    """The LPIPS term. scale: its factor; weights: torchvision's file of the trunk; None: from torch.hub's
    cache.

    size: images are enlarged to at least that many pixels, for the trunk halves them several times.
    """

    def __init__(
        self,
        scale: float = 1.0,
        net: Literal["vgg", "squeeze", "alex"] = "vgg",
        weights: str | None = None,
        size: int = 64,
    ) -> None:
        if net not in FILES or scale < 0 or size < 16:
            what = f"net={net}, scale={scale}, size={size}"
            do = "give net=vgg, squeeze or alex, a scale of 0 or more, a size of 16 or more"
            raise ConfigError(what, "terms.lpips", do)
        self.scale, self.net, self.weights, self.size = scale, net, weights, size
        self._trunk: Any = None

    def check(self) -> None:
        """Raise ConfigError where there are no weights, DataError where they are not what their name says."""
        _found(FILES[self.net], self.weights)

    def __call__(self, x0_hat: Tensor, x0: Tensor) -> Tensor:
        """Map images (B, 1 or 3, H, W) in [−1, 1] to (B,); its gradient goes to x0_hat."""
        if self._trunk is None:
            self._trunk = _loaded(self.net, _found(FILES[self.net], self.weights))
        trunk = self._trunk.to(x0.device)
        a, b = (self._enlarged(x.float().expand(-1, 3, -1, -1)) for x in (x0_hat, x0))
        return trunk(a, b).flatten().to(x0_hat.dtype)

    def _enlarged(self, x: Tensor) -> Tensor:
        least = min(x.shape[-2:])
        if least >= self.size:
            return x
        return F.interpolate(x, scale_factor=self.size / least, mode="bilinear", align_corners=False)


def _found(name: str, weights: str | None) -> Path:
    file = at(weights) if weights else Path(torch.hub.get_dir(), "checkpoints", name)
    if not is_file(file):
        do = f"get {name} from torchvision's models, and type terms.lpips.weights=PATH; or terms=none"
        raise ConfigError(f"there is no {file}", "terms.lpips.weights", do)
    if file.name == name:  # torchvision's names end in the beginning of the digest
        with file.open("rb") as opened:
            digest = hashlib.file_digest(opened, "sha256").hexdigest()
        if not digest.startswith(file.stem.rsplit("-", 1)[1]):
            what = f"the sha256 of this file begins with {digest[:8]}"
            raise DataError(what, str(file), "delete the file, and get it again")
    return file


def _loaded(net: str, file: Path) -> Any:
    from torchmetrics.functional.image.lpips import _LPIPS

    trunk = _LPIPS(net=net, pnet_rand=True)  # type: ignore[arg-type]
    try:
        state = state_dict(file)
    except Exception as error:  # the ways in which a foreign file can be wrong have no common type
        raise DataError(f"these are no weights ({reason(error)})", str(file), "get it again") from error
    kept = {name.removeprefix("features."): value for name, value in state.items()}
    wanted = trunk.net.state_dict()
    # slices.2.5.squeeze.weight and slice2.5.weight are features.5...: the number of the slice goes
    own = {name: name.split(".", 2 if name.startswith("slices.") else 1)[-1] for name in wanted}
    missing = sorted({short for short in own.values() if short not in kept})
    if missing:
        raise DataError(f"no {missing[0]} in it: it is not of {net}", str(file), f"give {FILES[net]}")
    wanted = {name: kept[short] for name, short in own.items()}
    try:
        check_floats(wanted)
        trunk.net.load_state_dict(wanted)
    except (ValueError, RuntimeError) as error:
        what = f"it is not of {net} ({str(error).splitlines()[-1].strip()})"
        raise DataError(what, str(file), f"give {FILES[net]}") from error
    return trunk.requires_grad_(False)
