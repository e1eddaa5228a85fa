"""The Inception of FID (Heusel et al. 2017): TensorFlow's graph of 2015-12-05, in torch-fidelity's port.

Preprocessing is torch-fidelity's: uint8, resized to 299 as TensorFlow 1 did it (bilinear, corners not
aligned, no antialias), (x − 128)/128. Published FIDs use the 2,048 features; 64, 192 and 768 are earlier
layers, other numbers under other names.
"""

import copy
import io
import warnings
from pathlib import Path
from typing import Any, Literal
from urllib.error import URLError

import torch
from torch import Tensor

from diffexp.errors import ConfigError, DataError
from diffexp.hub import at, is_file, reason
from diffexp.metrics.classifier import instead
from diffexp.metrics.extractor import Extractor, sha256_of
from diffexp.metrics.inception_resize import Resize, check_resize, resized, with_resize
from diffexp.metrics.weights import state_dict

OFFICIAL = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
FILE = "weights-inception-2015-12-05-6726825d.pth"


class Inception(Extractor):
    """Pooled features of the FID Inception; grey images are repeated to three channels.

    weights: a file of its weights; by default the official one, from torch.hub's cache or downloaded into it.
    resize: tensorflow, as torch-fidelity and TensorFlow 1 do it; or clean, as clean-fid does, under another
    name: another number. sha256: what the file's must be. By default the official one's for the official
    file, any for another; the card shows it in either case.
    """

    def __init__(
        self,
        feature: Literal[64, 192, 768, 2048] = 2048,
        weights: str | None = None,
        sha256: str | None = None,
        resize: Resize = "tensorflow",
    ) -> None:
        super().__init__()
        check_resize(resize)
        if feature not in (64, 192, 768, 2048):
            what = f"the FID Inception has no layer of {feature} features"
            raise ConfigError(what, "metrics.extractor.feature", "type 64, 192, 768 or 2048")
        self.name, self.dim, self.classifies = f"inception{feature}", int(feature), feature == 2048
        self.name = with_resize(self.name, resize)
        self.resize: Resize = resize
        self.weights, self.sha256 = weights, ""
        self._expected = sha256 or (None if weights else OFFICIAL)
        self._net: Any = None

    def check(self, shape: tuple[int, int, int]) -> None:
        """Find, verify and load the weights, and try them on one image of `shape`.

        Raises DataError for a file that is missing, damaged, or has no such layer.
        """
        if shape[0] not in (1, 3):
            raise ConfigError(
                f"the FID Inception takes 1 or 3 channels, not {shape[0]}", "metrics", instead(shape)
            )
        if self._net is None:
            file = _found(self.weights, instead(shape))
            self.sha256 = sha256_of(file)
            if self._expected not in (None, self.sha256):
                what = f"the sha256 of this file is {self.sha256[:16]}..., not {self._expected[:16]}..."
                raise DataError(what, str(file), "delete the file, and get it again")
            self._net = _loaded(file, self.dim)
        if not self(torch.zeros(1, *shape, dtype=torch.uint8, device=self.device)).isfinite().all():
            what = f"these weights give features that are not numbers at layer {self.dim}"
            raise DataError(
                what, self.weights or FILE, "type metrics.extractor.feature=768, or give the whole weights"
            )

    def forward(self, images: Tensor) -> Tensor:
        """Map uint8 (B, 1 or 3, H, W), or float32 of 0 to 255, to float32 (B, feature). After `check`."""
        images = images.expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)
        if self.resize == "tensorflow" and images.dtype == torch.uint8:
            return self._net(images)[0]
        ready = (resized(images, self.resize) - 128) / 128
        # the port takes bytes alone, and resizes by itself: its first layer is given what is to be seen
        first = self._net.Conv2d_1a_3x3.register_forward_pre_hook(lambda layer, seen: (ready,))
        try:
            return self._net(images.to(torch.uint8))[0]
        finally:
            first.remove()

    def with_resize(self, resize: Resize) -> "Inception":
        """Return the same network with another resize, of the same weights in memory."""
        other = copy.copy(self)
        other.name, other.resize = with_resize(self.name.removesuffix("_clean"), resize), resize
        return other

    def logits(self, features: Tensor) -> Tensor:
        """Map features, float (B, 2048), to logits (B, 1008), without the bias, as the papers' score."""
        return features @ self._net.fc.weight.T


def _found(weights: str | None, otherwise: str) -> Path:
    """Return the weights file, downloaded if it is the official one and not here; otherwise: what to type
    instead of it.
    """
    file = at(weights) if weights else Path(torch.hub.get_dir(), "checkpoints", FILE)
    if is_file(file):
        return file
    if weights:
        do = f"give the path of {FILE} by metrics.extractor.weights=PATH; or {otherwise}"
        raise DataError("there is no such weights file", str(file), do)
    from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3

    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(URL_INCEPTION_V3, str(file), hash_prefix=OFFICIAL)
    except (URLError, OSError, RuntimeError) as error:
        do = f"put {FILE} there, or give its path by metrics.extractor.weights=PATH; or {otherwise}"
        raise DataError(f"the FID Inception could not be downloaded ({error})", str(file), do) from error
    return file


def _loaded(file: Path, feature: int) -> Any:
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    try:
        tensors = io.BytesIO()
        torch.save(state_dict(file), tensors)
        tensors.seek(0)
        # The constructor unpickles what it is given, code included: it gets bytes of ours, of tensors only.
        # It also draws random weights first, and must not move the generator that initialises the network.
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            net = FeatureExtractorInceptionV3(
                "inception", [str(feature)], feature_extractor_weights_path=tensors
            )
    except Exception as error:  # the ways in which a foreign file can be wrong have no common type
        what = f"this is not a weights file of the FID Inception ({reason(error)})"
        raise DataError(
            what, str(file), f"give the path of {FILE} by metrics.extractor.weights=PATH"
        ) from error
    return net.to(memory_format=torch.channels_last)  # 1.6 times as fast on a CPU
