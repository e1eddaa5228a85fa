"""Metrics by CLIP: the distance of images from real ones (CMMD), and from the captions they were to show."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from diffexp.data.batch import Batch
from diffexp.data.dataset import DataSet
from diffexp.errors import ConfigError
from diffexp.metrics import reference as real
from diffexp.metrics.distributed import summed
from diffexp.metrics.each import Each
from diffexp.metrics.extractor import Extractor, extract
from diffexp.metrics.features import Bank
from diffexp.metrics.metric import Card
from diffexp.metrics.pretrained import CLIPEmbedding

SIGMA, SCALE = 10.0, 1000.0  # Jayasumana et al. 2024
_ROWS = 2048  # of a matrix of distances at a time


class CMMD(Bank):
    """Key cmmd_<extractor>: 1000 MMD² of unit embeddings under exp(−|x − y|²/(2·10²)), of all pairs, each
    image's with itself among them, as the paper's code has it (Jayasumana et al. 2024). The paper's model
    is clip-vit-large-patch14-336.
    """

    name = "CMMD"

    def check(self, data: DataSet, extractor: Extractor | None) -> None:
        """Raise ConfigError for another extractor than CLIP."""
        super().check(data, extractor)
        needs_clip(extractor, self.name)

    def of(self, real_features: Tensor, generated: Tensor) -> dict[str, float]:
        x, y = F.normalize(real_features.double()), F.normalize(generated.double())
        own, other = _kernel(y, y), _kernel(y, x)
        # what each generated image adds, to first order
        self.each = {"cmmd": SCALE * 2 * (own - other)}
        self.errors = {"cmmd": float(self.each["cmmd"].std(correction=0)) / len(y) ** 0.5}
        return {"cmmd": SCALE * float(_kernel(x, x).mean() + own.mean() - 2 * other.mean())}


def _kernel(x: Tensor, y: Tensor) -> Tensor:
    """Return the mean of the kernel of each of x, (N, dim), with all of y, (M, dim), unit vectors: (N,)."""
    return torch.cat([torch.exp((rows @ y.T - 1) / SIGMA**2).mean(1) for rows in x.split(_ROWS)])


class CLIPScore:
    """Key clip_score_<extractor>: 100 max(cos, 0) of an image and the caption it was to show, on average
    (Hessel et al. 2021, without their factor 2.5; torchmetrics has it so).

    caption: of a class, with {} for its name, for images that were asked for by class. Images of which
    neither is known are not judged. The card has the score of the real test split by captions of the same
    kind, which is as much as samples can be expected to reach.
    """

    def __init__(self, caption: str = "a photo of a {}") -> None:
        if "{}" not in caption:
            raise ConfigError(f"caption={caption}", "metrics", "give one with {} for the name of the class")
        self.caption, self._each = caption, Each()

    def check(self, data: DataSet, extractor: Extractor | None) -> None:
        """Raise ConfigError for another extractor than CLIP, or data without captions and classes."""
        if data.classes is None and data.split("test").texts is None:
            what = f"the CLIP score judges captions or classes, and {data.name} has neither"
            raise ConfigError(what, "metrics", "leave it out: metrics=clip")
        needs_clip(extractor, "the CLIP score")

    def prepare(self, data: DataSet, extractor: Extractor | None, n: int) -> None:
        assert isinstance(extractor, CLIPEmbedding)
        self._clip, self._of_class, self._real = extractor, None, {}
        if data.classes is not None:
            self._of_class = self._embedded([self.caption.replace("{}", name) for name in data.classes])
        self._card: Card = {"extractor": extractor.name, "sha256": extractor.sha256[:12], "n": 0}
        images, sums = data.split("test"), dict[str, Tensor]()
        for index in torch.arange(len(images))[:5000].split(real.BATCH):
            batch = images.batch(index)
            features = extract(extractor, batch.image)
            by_class = [batch._replace(text=None)] if batch.text is not None else []
            for one in (batch, *by_class):
                if (captions := self._wanted(one)) is not None:
                    sums[captions.kind] = sums.get(captions.kind, 0) + captions.judged(features)
        self._real = {kind: float(s[0] / s[2]) for kind, s in sums.items()}
        self.reset()

    def _embedded(self, captions: list[str]) -> tuple[Tensor, Tensor]:
        return F.normalize(self._clip.texts(captions).cpu().float()), self._clip.cut

    def _wanted(self, batch: Batch) -> "_Wanted | None":
        if batch.text is not None:
            return _Wanted("of each image", *self._embedded(batch.text))
        if batch.label is not None and self._of_class is not None:
            return _Wanted(self.caption, *(part[batch.label.cpu()] for part in self._of_class))
        return None

    def update(self, batch: Batch, features: Tensor | None) -> None:
        """Take in the embeddings (B, dim) of the images."""
        assert features is not None
        if (captions := self._wanted(batch)) is not None:
            self._sum += captions.judged(features)
            self._each.update(batch.index, captions.scores(features))
            self._card |= {"caption": captions.kind, "real_test": self._real.get(captions.kind)}

    def compute(self) -> dict[str, float]:
        """Return the mean over all ranks: a collective call."""
        total, square, n, cut = summed(self._sum)[0].tolist()
        self.each = self._each.over_ranks()[0]
        self._card |= {"n": int(n), "captions_cut": int(cut)}
        if not n:
            return {}
        key, mean = f"clip_score_{self._clip.name}", total / n
        variance = max(square / n - mean**2, 0.0)  # in this order NaN stays NaN, which MetricSet refuses
        self._card["standard_errors"] = {key: (variance / n) ** 0.5}
        return {key: mean}

    def card(self) -> Card:
        return dict(self._card)

    def evidence(self) -> dict[str, Tensor]:
        """Return the score of each image, for comparisons."""
        return {f"clip_score_{self._clip.name}/each": self.each} if len(self.each) else {}

    def reset(self) -> None:
        self._sum, self._each = torch.zeros(4, dtype=torch.float64), Each()


class _Wanted(NamedTuple):
    """The captions of a batch. kind: for the card; of each image: its caption's embedding, (B, dim) of length
    1, and whether it was too long and cut, (B,).
    """

    kind: str
    unit: Tensor
    cut: Tensor

    def scores(self, features: Tensor) -> Tensor:
        """Return the score of each image, float64 (B,)."""
        return 100 * (F.normalize(features.cpu().float()) * self.unit).sum(1).double().clamp(min=0)

    def judged(self, features: Tensor) -> Tensor:
        """Return the sum of the scores, of their squares, their number, and how many captions were cut."""
        score = self.scores(features)
        return torch.stack([score.sum(), score.square().sum(), torch.ones_like(score).sum(), self.cut.sum()])


def needs_clip(extractor: Extractor | None, who: str) -> None:
    """Raise ConfigError for another extractor than CLIP."""
    if not isinstance(extractor, CLIPEmbedding):
        raise ConfigError(f"{who} needs CLIP's embeddings", "metrics.extractor", "type metrics=clip")
