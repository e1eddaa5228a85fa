"""Whether a model draws its training images again, in the features of an extractor.

AuthPct (Alaa et al. 2022): the share of samples that are farther from their nearest training image than that
is from its own nearest. It is 0 where samples are training images. Of fresh draws of the same distribution it
is the share of points that are not the nearest to their nearest: 1/3 in one dimension, 0.379 in two, 11/27 in
three, 1/2 in many.

C_T (Meehan et al. 2020, of one cell): how often samples are nearer to the training images than the test
images are, as a z of Mann and Whitney: 0 for fresh draws, below −3 for copies, above 3 for what is far away.

A copy is a sample three times as near to one training image as to all others (Yoon et al. 2023). Training
images that are there more than once, which models learn by heart first, count once.
"""

import torch
from PIL import Image
from torch import Tensor

from diffexp.data.batch import Batch
from diffexp.data.dataset import DataSet
from diffexp.errors import ConfigError, check_at_most
from diffexp.metrics import reference as real
from diffexp.metrics.extractor import Extractor
from diffexp.metrics.features import Bank, features_of, gathered
from diffexp.metrics.statistics import Statistics, frechet_distance
from diffexp.pictures import paired

ROWS = 512  # of a matrix of distances at a time
RATIO = 1 / 3  # of the distances to the nearest and the second training image, below which a sample is a copy
PARTS = 10  # of the training images, at most, each as large as the test split


class Copies(Bank):
    """Keys authpct_, c_t_, copies_, fid_train_ and fid_test_<extractor>, of the training images.

    The two FID are to as many real images, so they can be compared: that to the training split is the mean
    over disjoint parts of it, whose deviation is in the card; where nothing is learnt by heart both are the
    same but for that. most: training images that are looked at. shown: samples in the picture, those most
    like a copy, each beside its nearest training image.
    """

    name = "the search for copies"
    reference = "train"  # whatever others are compared with

    def __init__(self, most: int = 50_000, shown: int = 24, cache: str | None = real.CACHE) -> None:
        super().__init__("train", most, cache)
        del self.reference
        if shown < 1:
            raise ConfigError(f"shown={shown}", "metrics", "give 1 or more samples to show")
        check_at_most(1000, "metrics", shown=shown)
        self.shown = shown

    def check(self, data: DataSet, extractor: Extractor | None) -> None:
        """Raise ConfigError without an extractor, or with fewer than 10 training or test images."""
        super().check(data, extractor)
        if (count := len(data.split("test"))) < 10:
            what = f"the test split of {data.name} has {count} images: too few for {self.name}"
            raise ConfigError(what, "metrics", "type another metrics=..., or give 10 or more test images")

    def prepare(self, data: DataSet, extractor: Extractor | None, n: int) -> None:
        """Get the features of training and test images, from the cache or by extraction."""
        assert extractor is not None
        super().prepare(data, extractor, n)
        self._images, self._first = data.split("train"), distinct(self._real)
        self._once = self._real[self._first]
        self._labels = None if self._images.labels is None else self._images.labels[self._chosen]
        _, self._test = features_of(data, "test", extractor, self.most, self.cache)
        self._card |= {"split": "train and test", "n_test": len(self._test), "ratio": round(RATIO, 3)}

    def update(self, batch: Batch, features: Tensor | None) -> None:
        """Keep the features (B, dim) of generated images, and the images that are most like copies."""
        super().update(batch, features)
        near, which = nearest(self._generated[-1], self._once)
        kept = torch.cat([self._kept[0], ratio(near)]), torch.cat([self._kept[1], self._first[which]])
        images = torch.cat([self._kept[2], batch.image.cpu()]) if len(self._kept[2]) else batch.image.cpu()
        first = kept[0].argsort(stable=True)[: self.shown]
        self._kept = kept[0][first], kept[1][first], images[first]

    def of(self, real_features: Tensor, generated: Tensor) -> dict[str, float]:
        once = real_features[distinct(real_features)]
        near, which = nearest(generated, once)
        authentic = near[:, 0] > nearest(once[which], once)[0][:, 1]
        copies = ratio(near) < RATIO
        self.each = {"authpct": authentic.double(), "copies": copies.double()}
        n = len(generated)
        self.errors = {key: float(values.std()) / n**0.5 for key, values in self.each.items()}
        self.errors["c_t"] = 1.0  # it is a z
        c_t = z_of_ranks(near[:, 0], nearest(self._test, once)[0][:, 0])
        values = {key: float(values.mean()) for key, values in self.each.items()}
        return values | {"c_t": c_t} | self._distances(real_features, generated)

    def _distances(self, train: Tensor, generated: Tensor) -> dict[str, float]:
        """Return FID to the training and to the test images, of equal parts of both."""
        size = min(len(self._test), max(2, len(train) // 2))
        # as many of each class in each part, as there are in a split: else the classes make the difference
        order = torch.randperm(len(train), generator=torch.Generator().manual_seed(0))
        order = order if self._labels is None else order[self._labels[order].argsort(stable=True)]
        count = max(1, len(train) // size)
        order = torch.cat(
            [part[torch.linspace(0, len(part) - 1, size).long()] for part in _dealt(order, count)]
        )
        found, made = dict[str, Tensor](), _statistics(generated)
        for name, real_features in (("train", train[order]), ("test", self._test)):
            parts = [part for part in real_features.split(size) if len(part) == size][:PARTS]
            found[name] = torch.tensor([frechet_distance(_statistics(part), made) for part in parts])
        spread = float(found["train"].std()) if len(found["train"]) > 1 else 0.0
        self._card |= {"n_part": size, "fid_train_spread": spread}
        return {f"fid_{name}": float(values.mean()) for name, values in found.items()}

    def pictures(self) -> dict[str, Image.Image]:
        """Return the samples that are most like copies, each above its nearest training image, of all ranks:
        a collective call.
        """
        ratios, which, images = (gathered([part] if len(part) else []) for part in self._kept)
        first = ratios.flatten().argsort(stable=True)[: self.shown]
        which, ratios = which.flatten()[first].long(), ratios.flatten()[first]
        originals = self._images.batch(self._chosen[which]).image
        marked = [bool(r < RATIO) for r in ratios]
        title = f"{sum(marked)} copies (framed) among the {len(first)} samples nearest to training images, "
        title += "above each the sample, below it its nearest training image"
        return {"copies": paired(images[first], originals, marked, title)}

    def reset(self) -> None:
        super().reset()
        self._kept = torch.empty(0), torch.empty(0, dtype=torch.int64), torch.empty(0, dtype=torch.uint8)


def distinct(features: Tensor) -> Tensor:
    """Return the numbers of the rows (N, dim) that repeat no earlier one, in their order; all where that
    would leave one.
    """
    _, group = features.unique(dim=0, return_inverse=True)
    every = torch.arange(len(features))
    first = torch.full((int(group.max()) + 1,), len(features)).scatter_reduce_(0, group, every, "amin")
    return first.sort().values if len(first) > 1 else every


def nearest(points: Tensor, among: Tensor) -> tuple[Tensor, Tensor]:
    """Return the distances of points (N, dim) to the nearest two among (M, dim), (N, 2), and which the
    nearest is, (N,). Of fewer than two, the second is infinitely far.
    """
    found = [
        torch.cdist(rows, among, compute_mode="donot_use_mm_for_euclid_dist").topk(
            min(2, len(among)), largest=False
        )
        for rows in points.split(ROWS)
    ]
    near, which = torch.cat([f.values for f in found]), torch.cat([f.indices for f in found])
    if near.shape[1] < 2:
        near = torch.cat([near, torch.full_like(near, torch.inf)], 1)
    return near, which[:, 0]


def ratio(near: Tensor) -> Tensor:
    """Return the distance to the nearest over that to the second, (N,); 0 where the nearest is the same."""
    return torch.where(near[:, 0] > 0, near[:, 0] / near[:, 1], 0.0)


def z_of_ranks(a: Tensor, b: Tensor) -> float:
    """Return by how many standard deviations the ranks of a (N,) among b (M,) are above chance: Mann and
    Whitney's U, for large N and M.
    """
    ordered, n, m = b.sort().values, len(a), len(b)
    a = a.contiguous()
    below = torch.searchsorted(ordered, a) + torch.searchsorted(ordered, a, right=True)
    u = float(below.double().sum()) / 2
    return (u - n * m / 2) / (n * m * (n + m + 1) / 12) ** 0.5


def _dealt(order: Tensor, count: int) -> list[Tensor]:
    """Return the numbers in turn to `count` parts."""
    return [order[k::count] for k in range(count)]


def _statistics(features: Tensor) -> Statistics:
    statistics = Statistics(features.shape[1])
    statistics.update(features)
    return statistics
