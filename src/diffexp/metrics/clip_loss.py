"""How far an image is from its caption as CLIP sees both (Radford et al. 2021), as a part of the loss."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from diffexp.diffusion.schedule import Level
from diffexp.errors import ConfigError, DataError
from diffexp.metrics.pretrained import CLIPEmbedding

_MOST = 1 << 16  # captions that are kept: of 512 numbers each they take 130 MB


class CLIPLoss:
    """The term 1 − cos of the embeddings of x̂0 and of the caption of its image, where σ/α is below `below`;
    elsewhere, and for an image whose caption is empty, 0: there is no picture in what is nearly noise.

    scale: its factor. model: CLIP, a folder or a name on the hub, as that of the CLIP score; sha256: what
    that of its weights must be. The caption is that of the image, also where the network is not told it.
    """

    captioned = True

    def __init__(
        self,
        scale: float = 1.0,
        model: str = "openai/clip-vit-base-patch16",
        sha256: str | None = None,
        below: float = 1.0,
    ) -> None:
        if scale < 0 or not below > 0:
            do = "give a scale of 0 or more, and a σ/α above 0; below=.inf for all images"
            raise ConfigError(f"scale={scale}, below={below}", "terms.clip", do)
        self.scale, self.below = scale, below
        self.clip = CLIPEmbedding(model, sha256)
        self.clip.where, self.clip.instead = "terms.clip", "type terms=none"
        self._kept = dict[str, Tensor]()

    def check(self) -> None:
        """Read the weights. Raises ConfigError without transformers, DataError for a folder without CLIP."""
        with torch.inference_mode(False):  # what is read in validation serves in training as well
            self.clip.check((3, 32, 32))
            if not self._embedded(["a photo"]).isfinite().all():
                what = "these weights give embeddings of captions that are not numbers"
                raise DataError(what, str(self.clip.folder), "get it again")

    def __call__(self, x0_hat: Tensor, x0: Tensor, level: Level, texts: Sequence[str]) -> Tensor:
        """Map images (B, 1 or 3, H, W) in [−1, 1] to (B,); its gradient goes to x0_hat. level: of each image,
        (B, 1, 1, 1); texts: its caption.
        """
        said = torch.tensor([bool(text.strip()) for text in texts])
        near = (level.ratio.flatten().cpu() < self.below).expand(len(said))
        chosen = (near & said).nonzero().flatten()
        far = torch.zeros(len(texts), dtype=x0_hat.dtype, device=x0_hat.device)
        if not len(chosen):
            return far
        where = chosen.to(x0_hat.device)
        return far.index_put((where,), self._far(x0_hat[where], [texts[int(i)] for i in chosen]))

    def _far(self, x0_hat: Tensor, texts: Sequence[str]) -> Tensor:
        if self.clip.net is None:
            self.check()
        self.clip.to(x0_hat.device)
        with torch.autocast(x0_hat.device.type, enabled=False):
            image = F.normalize(self.clip.smooth((x0_hat + 1) / 2))
            return (1 - (image * self._embedded(texts).to(image)).sum(1)).to(x0_hat.dtype)

    def _embedded(self, texts: Sequence[str]) -> Tensor:
        """Return the embeddings of captions, (N, dim) of length 1. Each is made alone, so that it is the same
        in any batch, and kept.
        """
        if len(self._kept) + len(texts) > _MOST:
            self._kept.clear()
        for text in texts:
            if text not in self._kept:
                self._kept[text] = F.normalize(self.clip.texts([text]))[0]
        return torch.stack([self._kept[text] for text in texts])
