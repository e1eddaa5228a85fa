"""DINOv2 and CLIP as extractors: transformers' models, from a folder or from the hub's cache.

The weights are read without running anything of theirs (safetensors, or torch.load with weights_only); no
code comes with them. Images are resized as these models were trained: bicubic with antialias, to whole
levels.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from diffexp.errors import ConfigError, DataError
from diffexp.hub import WEIGHTS, check_folder, check_stored, folder_of, is_file, reason, whole
from diffexp.metrics.extractor import Extractor, sha256_of


class Pretrained(Extractor):
    """An extractor of transformers. model: a folder with config.json and the weights, or a name on the hub,
    which is downloaded once.

    Metrics' keys have the last part of it. sha256: what that of the weights must be; None: any, and the card
    shows it.
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    where, instead = "metrics.extractor", "type metrics=inception"
    """The key at which it was typed, and what to type to do without, for errors."""

    def __init__(self, model: str, sha256: str | None = None) -> None:
        super().__init__()
        self.model, self._expected, self.sha256 = model, sha256, ""
        self.name = re.sub(r"[^\w.-]", "_", Path(model).name) or "pretrained"
        self.net: Any = None

    def check(self, shape: tuple[int, int, int]) -> None:
        """Load the weights, and try them on one image of `shape`. Raises ConfigError, DataError."""
        if shape[0] not in (1, 3):
            what = f"{self.name} takes 1 or 3 channels, not {shape[0]}"
            raise ConfigError(what, "metrics", "type metrics=none")
        if self.net is None:
            self.folder = folder_of(self.model, f"{self.where}.model", self.instead)
            check_folder(self.folder)
            file = next((self.folder / name for name in WEIGHTS if is_file(self.folder / name)), None)
            if file is None:
                do = f"put {WEIGHTS[0]} there"
                raise DataError("there are no weights in this folder", str(self.folder), do)
            self.sha256 = sha256_of(file)
            if self._expected not in (None, self.sha256):
                what = f"the sha256 of this file is {self.sha256[:16]}..., not {self._expected[:16]}..."
                raise DataError(what, str(file), "delete the file, and get it again")
            with self._foreign(), torch.random.fork_rng(devices=[]):
                check_stored(file)
                self.net = self._model().eval().requires_grad_(False)
        with self._foreign():
            features = self(torch.zeros(1, *shape, dtype=torch.uint8, device=self.device))
        if not features.isfinite().all():
            raise DataError(
                "these weights give features that are not numbers", str(self.folder), "get it again"
            )

    @contextmanager
    def _foreign(self) -> Iterator[None]:
        """Raise DataError for whatever a foreign folder does wrong, which has no common type."""
        try:
            yield
        except torch.OutOfMemoryError:
            raise
        except Exception as error:
            what = f"this is not a folder of {type(self).__name__} ({reason(error)})"
            raise DataError(what, str(self.folder), f"give another by {self.where}.model=PATH") from error

    def _model(self) -> Any:
        raise NotImplementedError

    def pixels(self, images: Tensor, size: int) -> Tensor:
        """Map uint8 (B, 1 or 3, H, W) to float32 (B, 3, size, size), around 0."""
        x = images.expand(-1, 3, -1, -1).float()
        if x.shape[-2:] != (size, size):
            x = F.interpolate(x, (size, size), mode="bicubic", antialias=True).round().clamp(0, 255)
        return self._around_0(x / 255)

    def _around_0(self, x: Tensor) -> Tensor:
        mean, std = (torch.tensor(v, device=x.device).view(3, 1, 1) for v in (self.mean, self.std))
        return (x - mean) / std


class Dinov2(Pretrained):
    """The class token of DINOv2 (Oquab et al. 2023): FD-DINOv2 is FID of its features (Stein et al. 2023)."""

    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    size = 224

    def _model(self) -> Any:
        from transformers import Dinov2Model

        net = whole(Dinov2Model, self.folder)
        self.dim = int(net.config.hidden_size)
        return net

    def forward(self, images: Tensor) -> Tensor:
        """Map uint8 (B, 1 or 3, H, W) to float32 (B, dim)."""
        return self.net(self.pixels(images, self.size)).pooler_output


class CLIPEmbedding(Pretrained):
    """CLIP's embedding of images (Radford et al. 2021), of any length; `texts` has that of captions."""

    mean, std = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)

    def _model(self) -> Any:
        from transformers import CLIPModel

        net = whole(CLIPModel, self.folder)
        self.dim, self.size = int(net.config.projection_dim), int(net.config.vision_config.image_size)
        return net

    def forward(self, images: Tensor) -> Tensor:
        """Map uint8 (B, 1 or 3, H, W) to float32 (B, dim)."""
        return self._embedded(self.pixels(images, self.size))

    def smooth(self, x: Tensor) -> Tensor:
        """Map images in [0, 1], float (B, 1 or 3, H, W), to (B, dim), with a gradient: nothing is rounded to
        whole levels, or clipped.
        """
        x = x.expand(-1, 3, -1, -1).to(self.net.dtype)
        if x.shape[-2:] != (self.size, self.size):
            x = F.interpolate(x, (self.size, self.size), mode="bicubic", antialias=True)
        return self._embedded(self._around_0(x))

    def _embedded(self, pixels: Tensor) -> Tensor:
        out = self.net.vision_model(pixel_values=pixels)
        return self.net.visual_projection(out.pooler_output)

    @cached_property
    def _tokenizer(self) -> Any:
        from transformers import CLIPTokenizer

        with self._foreign():
            names = ("tokenizer.json", "vocab.json")
            if not any(is_file(self.folder / name) for name in names):  # transformers would make an empty one
                raise ValueError(f"neither {' nor '.join(names)} in it")
            return CLIPTokenizer.from_pretrained(self.folder, local_files_only=True)

    def texts(self, captions: list[str]) -> Tensor:
        """Return the embeddings of captions, (N, dim); set `cut`, bool (N,): which were cut off at the
        model's length, their end kept. Raises DataError for a folder without a tokenizer.
        """
        words = self._tokenizer
        most = int(self.net.config.text_config.max_position_embeddings)
        self.cut = torch.tensor([len(words(text).input_ids) > most for text in captions])
        tokens = words(captions, padding=True, truncation=True, max_length=most, return_tensors="pt")
        with torch.no_grad():
            out = self.net.text_model(**tokens.to(self.device))
            return self.net.text_projection(out.pooler_output)
