"""FID on the digits: what it is of real images, its floor, its card, its cache."""

import logging
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

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
        real.read_statistics(str(path), 64)
    np.savez(path, mu=np.array([{"a": 1}], dtype=object), sigma=np.eye(64))
    with pytest.raises(DataError, match=r"cannot be read[\s\S]*real\.npz"):
        real.read_statistics(str(path), 64)


def seen_by(metric, features, size):
    """Give a metric features in batches, numbered through."""
    for index in torch.arange(len(features)).split(size):
        metric.update(Batch(features[index], None, None, index), features[index])


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
        seen_by(metric, 1.2 * torch.randn(500, 8, generator=draw) + 0.1, 170)
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
        seen_by(metric, features, sizes)
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
    seen_by(metric, classes, 130)
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
    commands = [[sys.executable, "-c", code, str(tmp_path), str(i)] for i in range(2)]
    running = [subprocess.Popen(c, stdout=subprocess.PIPE, text=True) for c in commands]
    told = {process.communicate(timeout=60)[0] for process in running}
    assert len(told) == 1 and len(list(tmp_path.glob("made_by_*"))) == 1
    assert [p.name for p in (tmp_path / "cache").iterdir()] == ["key.safetensors"]


def plain(dim=6):
    """mu and sigma of something, whose variances go from 0.1 to 1."""
    draw = np.random.default_rng(0)
    turn, _ = np.linalg.qr(draw.normal(size=(dim, dim)))
    return draw.normal(size=dim), turn @ np.diag(np.linspace(0.1, 1, dim)) @ turn.T


def changed(array, at, value):
    array = array.copy()
    array[at] = value
    return array


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda m, s: {"mu": changed(m, 2, np.nan)}, "1 of 6 numbers in mu are not finite"),
        (lambda m, s: {"sigma": s * np.nan}, "36 of 36 numbers in sigma are not finite"),
        (lambda m, s: {"sigma": changed(s, (0, 1), np.inf)}, "1 of 36 numbers in sigma are not finite"),
        (lambda m, s: {"mu": m * 1e200}, "mu has numbers up to"),
        (lambda m, s: {"sigma": changed(s, (0, 1), 9.0)}, "sigma is not symmetric"),
        (lambda m, s: {"sigma": -s}, "sigma has a direction of negative variance"),
        (lambda m, s: {"sigma": s - 0.11 * np.eye(6)}, "sigma has a direction of negative variance"),
        (lambda m, s: {"sigma": s[:5, :5]}, r"sigma has shape (5, 5), and the extractor 6 features"),
        (lambda m, s: {"mu": m[:, None]}, r"mu has shape (6, 1), and the extractor 6 features"),
        (lambda m, s: {"mu": m.astype(complex)}, "mu is complex128, which are no real numbers"),
        (lambda m, s: {"mu": m.astype(str)}, "which are no real numbers"),
        (lambda m, s: {"sigma": s.astype(object)}, "sigma is object, which are no real numbers"),
        (lambda m, s: {"n": np.nan}, "n=nan is no number of images"),
        (lambda m, s: {"n": -5}, "n=-5 is no number of images"),
        (lambda m, s: {"n": 1}, "n=1 is no number of images"),
        (lambda m, s: {"n": np.array("many")}, "which are no real numbers"),
        (lambda m, s: {"n": np.zeros(3)}, "n has shape (3,)"),
        (lambda m, s: {"mu": np.zeros(10**7)}, "mu has 80,000,128 bytes, too many for shape (6,)"),
    ],
)
def test_statistics_are_judged_before_they_are_used(tmp_path, change, told):
    """NaN was FID 0.0 before: a perfect score."""
    file, (mu, sigma) = tmp_path / "of.npz", plain()
    np.savez_compressed(file, **{"mu": mu, "sigma": sigma} | change(mu, sigma))
    with pytest.raises(DataError) as refused:
        real.read_statistics(str(file), 6)
    assert told in refused.value.what and refused.value.where == str(file)


def test_statistics_of_other_programs_are_read(tmp_path):
    mu, sigma = plain()
    file, want = tmp_path / "of.npz", None
    rough = sigma * (1 + 1e-7 * np.random.default_rng(1).normal(size=sigma.shape))
    poor = sigma - np.linalg.eigvalsh(sigma)[0] * (1 + 1e-6) * np.eye(6)  # of few images, rounded
    for more in ({}, {"n": 500}, {"n": np.array([500.0])}, {"arr_0": np.zeros((50, 8, 8, 3), np.uint8)}):
        np.savez(file, mu=mu, sigma=sigma, **more)
        found = real.read_statistics(str(file), 6)
        np.testing.assert_allclose(found.covariance, sigma, rtol=1e-6, atol=1e-9)
        assert float(found.n) == (500 if "n" in more else 1e6)
        want = found
    for other in (sigma.astype(np.float32), rough, np.asfortranarray(sigma)):
        np.savez(file, mu=mu.astype(np.float32), sigma=other)
        assert frechet_distance(real.read_statistics(str(file), 6), want) < 1e-6
    np.savez(file, mu=np.arange(6), sigma=poor)
    assert real.read_statistics(str(file), 6).mean.tolist() == pytest.approx(list(range(6)))


def test_damaged_statistics_are_data_errors(tmp_path):
    """Cut, with flipped bytes, with a header that promises gigabytes, links to nowhere, folders."""
    file, (mu, sigma) = tmp_path / "of.npz", plain()
    np.savez_compressed(file, mu=mu, sigma=sigma, n=100)
    whole, draw = file.read_bytes(), generator(0, "fuzz")
    for _ in range(300):
        at, bit = (int(torch.randint(n, (1,), generator=draw)) for n in (len(whole), 8))
        damaged = bytearray(whole)
        damaged[at] ^= 1 << bit
        for content in (bytes(damaged), whole[:at]):
            file.write_bytes(content)
            try:
                assert real.read_statistics(str(file), 6).covariance.isfinite().all()
            except DataError as refused:
                assert refused.where == str(file)
    header = b"\x93NUMPY\x02\x00" + (2**31).to_bytes(4, "little") + b" " * 2**27
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("mu.npy", header)
    assert file.stat().st_size < 1 << 20
    with pytest.raises(DataError, match="too many for shape"):
        real.read_statistics(str(file), 6)
    for path in (tmp_path, tmp_path / "none.npz", tmp_path / ("a" * 300)):
        with pytest.raises(DataError, match="cannot be read"):
            real.read_statistics(str(path), 6)


def test_a_distance_that_is_not_finite_is_none():
    good, bad, one = Statistics(3), Statistics(3), Statistics(3)
    good.update(torch.randn(50, 3))
    one.update(torch.zeros(1, 3))
    bad.update(torch.randn(50, 3))
    bad.outer[1, 1] = torch.nan
    for other, n in ((bad, 50), (one, 1)):
        for pair in ((good, other), (other, good)):
            with pytest.raises(DataError, match=rf"mean and covariance of {n} images are not finite"):
                frechet_distance(*pair)


def made(seen):
    def make():
        seen.append(1)
        return {"a": torch.arange(5.0), "n": torch.tensor(3.0, dtype=torch.float64)}

    return make


def without(tensors, name):
    return {key: value for key, value in tensors.items() if key != name}


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t | {"a": t["a"] + 1e-3},
        lambda t: without(t, "n"),
        lambda t: t | {"b": torch.zeros(1)},
        lambda t: t | {"a": t["a"][:3].clone()},
        lambda t: t | {"a": t["a"].double()},
        lambda t: t | {"a": t["a"].view(torch.int32)},
        lambda t: t | {"a": t["a"][None]},
        lambda t: {"n": t["a"], "a": t["n"]},
    ],
    ids=["value", "missing", "more", "short", "dtype", "bits", "shape", "swapped"],
)
def test_a_cached_file_that_is_not_as_it_was_written_is_made_again(tmp_path, caplog, change):
    """Also one without a digest, as earlier versions wrote them."""
    seen, file = [], tmp_path / "key.safetensors"
    want = real.cached(str(tmp_path), "key", made(seen))
    digest = told_by(file)
    for metadata in ({"sha256": digest}, None, {"sha256": ""}):
        content = load_file(file)
        assert real.cached(str(tmp_path), "key", made(seen)).keys() == want.keys()
        count = len(seen)
        save_file(change({key: value.clone() for key, value in content.items()}), file, metadata)
        caplog.clear()
        found = real.cached(str(tmp_path), "key", made(seen))
        assert len(seen) == count + 1 and all(torch.equal(found[key], want[key]) for key in want)
        assert caplog.text.count("made again, for the file is damaged") == 1
        assert told_by(file) == digest


def told_by(file):
    from safetensors import safe_open

    with safe_open(file, "pt") as opened:
        return opened.metadata()["sha256"]


def test_one_flipped_bit_anywhere_changes_no_number(tmp_path):
    """It turned a FID of 6.15 into 14.24."""
    seen, file = [], tmp_path / "key.safetensors"
    want = real.cached(str(tmp_path), "key", made(seen))
    whole = file.read_bytes()
    for at in range(len(whole)):
        damaged = bytearray(whole)
        damaged[at] ^= 1 << at % 8
        file.write_bytes(damaged)
        found = real.cached(str(tmp_path), "key", made(seen))
        assert found.keys() == want.keys() and all(torch.equal(found[key], want[key]) for key in want), at
    (tmp_path / "other.safetensors").write_bytes(whole)
    count = len(seen)
    real.cached(str(tmp_path), "other", made(seen))
    assert len(seen) == count + 1  # a whole file, of something else


def test_a_cached_file_is_not_written_through_a_link(tmp_path):
    (tmp_path / "mine").write_text("a thesis")
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "key.safetensors").symlink_to(tmp_path / "mine")
    seen = []
    for _ in range(2):
        assert float(real.cached(str(tmp_path / "cache"), "key", made(seen))["n"]) == 3
    assert len(seen) == 1 and (tmp_path / "mine").read_text() == "a thesis"
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["key.safetensors"]
