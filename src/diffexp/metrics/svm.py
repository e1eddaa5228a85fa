"""The accuracy of samples by a support vector machine on pixels, a judge that is no network."""

import numpy as np
import torch
from torch import Tensor

from diffexp.data.batch import Batch
from diffexp.data.dataset import DataSet, SplitName
from diffexp.errors import ConfigError
from diffexp.metrics.accuracy import Share, evidence, judged, needs_classes
from diffexp.metrics.extractor import Extractor
from diffexp.metrics.metric import Card
from diffexp.randomness import generator


class SVMAccuracy:
    """Key accuracy_svm: the share of samples that an SVM (radial kernel) finds to be of the class asked for.

    limit: images of the train split that it is trained on, and of the test split that its own accuracy is
    measured on, at most; its time grows with their square.
    """

    def __init__(self, limit: int = 5000) -> None:
        if limit < 10:
            raise ConfigError(f"limit={limit} is less than 10", "metrics", "give limit=5000")
        self.limit = limit

    def check(self, data: DataSet, extractor: Extractor | None) -> None:
        """Raise ConfigError for data without classes."""
        needs_classes(data, "the support vector machine")

    def prepare(self, data: DataSet, extractor: Extractor | None, n: int) -> None:
        """Train it: half a second on the digits, 5 s on 5,000 images of 28x28."""
        from sklearn.svm import SVC

        self._classes = data.classes or ()

        (pixels, classes), test = self._some(data, "train"), self._some(data, "test")
        self._svm = SVC(C=10.0, kernel="rbf", gamma="scale").fit(pixels, classes)
        self._card: Card = {
            "judge": "svm",
            "n": 0,
            "n_train": len(classes),
            "accuracy_real_test": float(self._svm.score(*test)),
        }
        self.reset()

    def _some(self, data: DataSet, split: SplitName) -> tuple[np.ndarray, np.ndarray]:
        images = data.split(split)
        chosen = torch.randperm(len(images), generator=generator(0, "svm", split))[: self.limit]
        batch = images.batch(chosen)
        assert batch.label is not None
        return _pixels(batch.image), batch.label.numpy()

    def update(self, batch: Batch, features: Tensor | None) -> None:
        """Judge samples; those without labels, of a model without classes, are not counted."""
        if batch.label is not None:
            recognised = torch.from_numpy(self._svm.predict(_pixels(batch.image)))
            self._share.update(recognised, batch.label, batch.index)

    def compute(self) -> dict[str, float]:
        return judged(self._share, "accuracy_svm", self._card)

    def evidence(self) -> dict[str, Tensor]:
        return evidence(self._share, "accuracy_svm")

    def card(self) -> Card:
        return dict(self._card)

    def reset(self) -> None:
        self._share = Share(self._classes)


def _pixels(images: Tensor) -> np.ndarray:
    return images.cpu().flatten(1).numpy().astype(np.float32) / 255
