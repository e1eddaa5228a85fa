"""What CLIP says of images: their distance from real ones (CMMD), and from what they were to show."""

import torch
import torch.nn.functional as F
from torch import Tensor

from diffexp.data.dataset import DataSet
from diffexp.errors import ConfigError
from diffexp.metrics import reference as real
from diffexp.metrics.accuracy import needs_classes
from diffexp.metrics.bank import Bank
from diffexp.metrics.extractor import Extractor, extract
from diffexp.metrics.metric import Card
from diffexp.metrics.pretrained import Clip
from diffexp.metrics.ranks import summed

SIGMA, SCALE = 10.0, 1000.0  # Jayasumana et al. 2024
_ROWS = 2048  # of a matrix of distances at a time


class CMMD(Bank):
    """Key cmmd_<extractor>: 1000 MMD² of unit embeddings under exp(−|x − y|²/(2·10²)), of all pairs, each
    image's with itself among them, as the paper's code has it (Jayasumana et al. 2024). The paper's model
    is clip-vit-large-patch14-336.
    """

    name = "CMMD"

    def check(self, data: DataSet, extractor: Extractor | None) -> None:
        """Raises ConfigError for another extractor than CLIP."""
        super().check(data, extractor)
        needs_clip(extractor, self.name)

    def of(self, real_features: Tensor, generated: Tensor) -> dict[str, float]:
        x, y = F.normalize(real_features.double()), F.normalize(generated.double())
        own, other = _kernel(y, y), _kernel(y, x)
        # what each generated image adds, to first order
        self.errors = {"cmmd": SCALE * float((2 * (own - other)).std(correction=0)) / len(y) ** 0.5}
        return {"cmmd": SCALE * float(_kernel(x, x).mean() + own.mean() - 2 * other.mean())}


def _kernel(x: Tensor, y: Tensor) -> Tensor:
    """The mean of the kernel of each of x, (N, dim), with all of y, (M, dim), unit vectors: (N,)."""
    return torch.cat([torch.exp((rows @ y.T - 1) / SIGMA**2).mean(1) for rows in x.split(_ROWS)])


class CLIPScore:
    """Key clip_score_<extractor>: 100 max(cos, 0) of an image and the caption it was to show, on average
    (Hessel et al. 2021, without their factor 2.5; torchmetrics has it so).

    caption: of a class, with {} for its name. Samples without labels are not judged. The card has the score
    of the real test split, which is as much as samples can be expected to reach.
    """

    def __init__(self, caption: str = "a photo of a {}") -> None:
        if "{}" not in caption:
            raise ConfigError(f"caption={caption}", "metrics", "give one with {} for the name of the class")
        self.caption = caption

    def check(self, data: DataSet, extractor: Extractor | None) -> None:
        """Raises ConfigError for another extractor than CLIP, or data without classes."""
        needs_classes(data, "the CLIP score")
        needs_clip(extractor, "the CLIP score")

    def prepare(self, data: DataSet, extractor: Extractor | None, n: int) -> None:
        assert isinstance(extractor, Clip)
        self._name = extractor.name
        self._captions = F.normalize(
            extractor.texts([self.caption.replace("{}", name) for name in data.classes or ()]).cpu()
        )
        self.reset()
        images = data.split("test")
        for index in torch.arange(len(images))[:5000].split(real.BATCH):
            batch = images.batch(index)
            self.update(batch.image, batch.label, extract(extractor, batch.image))
        self._card: Card = {
            "extractor": self._name,
            "sha256": extractor.sha256[:12],
            "n": 0,
            "caption": self.caption,
            "captions_cut": extractor.cut,
            "real_test": float(self._sum[0] / self._sum[2]),
        }
        self.reset()

    def update(self, images: Tensor, labels: Tensor | None, features: Tensor | None) -> None:
        """Takes in the embeddings (B, dim) of images of the classes `labels` (B,)."""
        assert features is not None
        if labels is not None:
            cos = (F.normalize(features.cpu().float()) * self._captions[labels.cpu()]).sum(1)
            score = 100 * cos.double().clamp(min=0)
            self._sum += torch.stack([score.sum(), score.square().sum(), torch.tensor(len(cos)).double()])

    def compute(self) -> dict[str, float]:
        """The mean over all ranks: a collective call."""
        total, square, n = summed(self._sum)[0].tolist()
        self._card["n"] = int(n)
        if not n:
            return {}
        key, mean = f"clip_score_{self._name}", total / n
        self._card["standard_errors"] = {key: (max(0.0, square / n - mean**2) / n) ** 0.5}
        return {key: mean}

    def card(self) -> Card:
        return dict(self._card)

    def reset(self) -> None:
        self._sum = torch.zeros(3, dtype=torch.float64)


def needs_clip(extractor: Extractor | None, who: str) -> None:
    """Raises ConfigError for another extractor than CLIP."""
    if not isinstance(extractor, Clip):
        raise ConfigError(f"{who} needs CLIP's embeddings", "metrics.extractor", "type metrics=clip")
