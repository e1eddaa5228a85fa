"""FID on the digits: what it is of real images, its floor, its card, its cache."""

import logging
import subprocess
import sys

import pytest
import torch

from diffexp.data import Batch, Digits, InMemory
from diffexp.data.dataset import DataSet, Splits
from diffexp.errors import ConfigError, DataError
from diffexp.metrics import FID, MetricSet, SmallClassifier, Statistics, extract, frechet_distance
from diffexp.metrics import reference as real
from diffexp.randomness import generator


class Few(DataSet):
    """Made-up images, which count how often they are read."""

    name = "few"
    classes = None
    shape = (1, 8, 8)

    def __init__(self, count=400, seed=0):
        self.count, self.seed, self.read_batches = count, seed, 0

    def read(self):
        shape = (self.count, *self.shape)
        images = torch.randint(0, 256, shape, generator=generator(self.seed, "few"), dtype=torch.uint8)
        return Splits(InMemory(images), InMemory(images[:3]), InMemory(images[:50]))

    def batches(self, split, size, workers=0):
        self.read_batches += 1
        return super().batches(split, size, workers)


def fid(images, data, n=1000, **options):
    metrics = MetricSet(n, SmallClassifier(), [FID(**options)])
    metrics.prepare(data)
    metrics.update(images)
    return metrics.compute()["fid_digits64"], metrics.cards["fid_digits64"]


def test_the_reference_itself_has_fid_0_and_worse_images_more():
    digits = Digits()
    images = digits.split("train").images
    noise = torch.randint(-40, 41, images.shape, generator=generator(0, "noise"), dtype=torch.int16)
    noisy = (images.short() + noise).clamp(0, 255).to(torch.uint8)
    same, unseen, worse, inverse = (
        fid(x, digits, 1437, cache=None)[0]
        for x in (images, digits.split("test").images, noisy, 255 - images)
    )
    assert same < 1e-9
    assert 1 < unseen < 0.3 * worse < 0.03 * inverse


def test_the_floor_is_the_distance_of_real_images_to_the_rest():
    digits, extractor = Digits(), SmallClassifier()
    features = extract(extractor, digits.split("train").images)
    chosen = torch.randperm(1437, generator=generator(0, "floor"))[:300]
    some, rest = Statistics(64), Statistics(64)
    some.update(features[chosen])
    rest.update(features[[i for i in range(1437) if i not in set(chosen.tolist())]])
    _, card = fid(digits.split("val").images, digits, 300, cache=None)
    assert card["floor"] == pytest.approx(frechet_distance(some, rest), rel=1e-6)
    assert card["floor_n"] == 300


def test_the_floor_of_more_than_half_is_that_of_half():
    digits = Digits()
    _, card = fid(digits.split("val").images, digits, 1000, cache=None)
    _, half = fid(digits.split("val").images, digits, 718, cache=None)
    assert card["floor_n"] == half["floor_n"] == 718
    assert card["floor"] == half["floor"] > 1


def test_the_card():
    digits = Digits()
    value, card = fid(digits.split("val").images, digits, 100, cache=None, reference="test")
    floor, error = card.pop("floor"), card.pop("standard_error")
    assert error > 0
    assert (
        card
        == {
            "extractor": "digits64",
            "sha256": SmallClassifier().sha256[:12],
            "dim": 64,
            "n": 100,  # of the 180
            "n_reference": 180,
            "data": "digits",
            "split": "test",
            "statistics": None,
            "fingerprint": digits.fingerprint("test")[:12],
            "floor_n": 90,
        }
    )
    assert min(floor, value) > 0.5


def test_fewer_images_than_features_are_noted(caplog):
    digits = Digits()
    with caplog.at_level(logging.WARNING):
        _, card = fid(digits.split("val").images, digits, 64, cache=None)
    assert card["note"].startswith("n=64 is not more than the 64 features")
    assert caplog.messages == [card["note"]]
    assert "note" not in fid(digits.split("val").images, digits, 65, cache=None)[1]


def test_the_cache_gives_the_same_numbers_without_the_images(tmp_path):
    generated = Few(seed=1).split("train").images
    data, again = Few(), Few()
    first = fid(generated, data, 100, cache=str(tmp_path))
    files = {file: file.read_bytes() for file in tmp_path.iterdir()}
    assert fid(generated, again, 100, cache=str(tmp_path)) == first
    assert (data.read_batches, again.read_batches) == (1, 0)
    assert {file: file.read_bytes() for file in tmp_path.iterdir()} == files
    assert len(files) == 2 and all(file.suffix == ".safetensors" for file in files)
    fid(generated, again, 150, cache=str(tmp_path))  # another n: another floor, the same statistics
    assert again.read_batches == 0 and len(list(tmp_path.iterdir())) == 3


def test_other_images_split_or_extractor_have_other_files(tmp_path):
    extractor, keys = SmallClassifier(), set()
    for data, split in ((Few(), "train"), (Few(seed=1), "train"), (Few(50), "train"), (Few(), "test")):
        keys.add(real.key(data, split, extractor))
    extractor.sha256 = "another"
    keys.add(real.key(Few(), "train", extractor))
    assert len(keys) == 5


def test_a_damaged_cache_is_made_again(tmp_path, caplog):
    generated = Few(seed=1).split("train").images
    first = fid(generated, Few(), 100, cache=str(tmp_path))
    for file in tmp_path.iterdir():
        file.write_bytes(file.read_bytes()[:100])
    data = Few()
    assert fid(generated, data, 100, cache=str(tmp_path)) == first
    assert data.read_batches == 1 and "the file is damaged" in caplog.text
    caplog.clear()
    assert fid(generated, Few(), 100, cache=str(tmp_path)) == first and not caplog.text


def test_a_cache_that_cannot_be_written_stops_nothing(tmp_path, caplog):
    (tmp_path / "file").touch()
    generated = Few(seed=1).split("train").images
    value, _ = fid(generated, Few(), 100, cache=str(tmp_path / "file" / "stats"))
    assert value == fid(generated, Few(), 100, cache=None)[0]
    assert "not kept for the next run" in caplog.text


def test_what_cannot_be_measured_is_refused_before_training():
    with pytest.raises(ConfigError, match="FID needs an extractor"):
        MetricSet(100, None, [FID()]).check(Digits())
    with pytest.raises(ConfigError, match="the val split of few has 3 images: too few for FID"):
        MetricSet(100, SmallClassifier(), [FID("val")]).check(Few())
    with pytest.raises(ConfigError, match="at least 2 generated images, not 0"):
        fid(Few().split("train").images[:0], Few(), cache=None)


def test_features_that_are_not_finite_stop_it():
    extractor = SmallClassifier()
    extractor.body[-1].weight.data[0, 0] = torch.nan
    with pytest.raises(DataError, match="not finite"):
        MetricSet(100, extractor, [FID(cache=None)]).prepare(Digits())


def test_statistics_of_a_file_are_those_of_the_split(tmp_path):
    """As pytorch-fid and EDM write them: numpy's mean and covariance."""
    import numpy as np

    from diffexp.errors import DataError
    from diffexp.metrics import extract
    from diffexp.metrics.reference import read_statistics

    data, net = Digits(), SmallClassifier("digits")
    batches = list(data.batches("train", 500))
    features = torch.cat([extract(net, batch.image) for batch in batches]).double().numpy()
    path = tmp_path / "real.npz"
    np.savez(path, mu=features.mean(0), sigma=np.cov(features, rowvar=False))
    found = {}
    for statistics in (None, str(path)):
        fid = FID(cache=None, statistics=statistics)
        fid.check(data, net)
        fid.prepare(data, net, 100)
        fid.update(batches[0], extract(net, batches[0].image))
        found[statistics] = fid.compute()["fid_digits64"]
        assert fid.card()["statistics"] == statistics and fid.card()["floor"] > 0
    assert found[str(path)] == pytest.approx(found[None], rel=1e-7)
    np.savez(path, mu=features.mean(0)[:10], sigma=np.eye(10))
    with pytest.raises(DataError, match=r"shape \(10,\), and the extractor 64"):
        read_statistics(str(path), 64)
    np.savez(path, mu=np.array([{"a": 1}], dtype=object), sigma=np.eye(64))
    with pytest.raises(DataError, match=r"cannot be read[\s\S]*real\.npz"):
        read_statistics(str(path), 64)


def test_standard_error_is_the_spread_over_other_images():
    """Of FIDs of 60 sets of 500 images; on the average of theirs, for each one is itself a guess."""
    draw = torch.Generator().manual_seed(0)
    metric = FID(cache=None)
    metric._real = Statistics(8)
    metric._real.update(torch.randn(20_000, 8, generator=draw))
    found, errors = [], []
    for _ in range(60):
        metric._card = {"extractor": "plain8", "dim": 8, "n": 0}
        metric.reset()
        for part in (1.2 * torch.randn(500, 8, generator=draw) + 0.1).split(170):
            metric.update(Batch(part, None, None, torch.arange(len(part))), part)
        (value,) = metric.compute().values()
        found.append(value)
        errors.append(metric.card()["standard_errors"]["fid_plain8"])
    assert sum(errors) / 60 == pytest.approx(float(torch.tensor(found).std()), rel=0.25)


def test_parts_do_not_depend_on_the_batches_and_none_are_possible():
    features, told = torch.randn(120, 8, generator=torch.Generator().manual_seed(1)), []
    for sizes, parts in ((120, 10), (7, 10), (50, 0)):
        metric = FID(cache=None, parts=parts)
        metric._real, metric._card = Statistics(8), {"extractor": "plain8", "dim": 8, "n": 0}
        metric._real.update(features + 1)
        metric.reset()
        for part in features.split(sizes):
            metric.update(Batch(part, None, None, torch.arange(len(part))), part)
        told.append((metric.compute()["fid_plain8"], metric.card().get("standard_errors")))
    (a, one), (b, other), (c, none) = told
    assert a == pytest.approx(b, rel=1e-12) and a == pytest.approx(c, rel=1e-12) and none is None
    assert one["fid_plain8"] == pytest.approx(other["fid_plain8"], rel=1e-9)
    with pytest.raises(ConfigError, match="parts=1"):
        FID(parts=1)


def test_parts_have_all_classes():
    """Images come class by class in turn, as labels_for has them: of ten parts none may be a class."""
    metric = FID(cache=None, parts=10)
    metric._real, metric._card = Statistics(10), {"extractor": "plain10", "dim": 10, "n": 0}
    metric._real.update(torch.randn(100, 10))
    metric.reset()
    classes = torch.eye(10)[torch.arange(1000) % 10]
    for part in classes.split(130):
        metric.update(Batch(part, None, None, torch.arange(len(part))), part)
    assert all(torch.equal(part.total, torch.full((10,), 10.0).double()) for part in metric._generated)


def test_statistics_are_made_once_by_processes_that_want_them_together(tmp_path):
    """Each would take a second, and writes down that it begins."""
    code = (
        "import pathlib, sys, time, torch\n"
        "from diffexp.metrics.reference import cached\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "def make():\n"
        "    (folder / f'made_by_{sys.argv[2]}').touch()\n"
        "    time.sleep(1)\n"
        "    return {'x': torch.full((3,), float(sys.argv[2]))}\n"
        "print(cached(str(folder / 'cache'), 'key', make)['x'].tolist())\n"
    )
    commands = [[sys.executable, "-c", code, str(tmp_path), str(i)] for i in range(3)]
    running = [subprocess.Popen(c, stdout=subprocess.PIPE, text=True) for c in commands]
    told = {process.communicate(timeout=60)[0] for process in running}
    assert len(told) == 1 and len(list(tmp_path.glob("made_by_*"))) == 1
    assert [p.name for p in (tmp_path / "cache").iterdir()] == ["key.safetensors"]
