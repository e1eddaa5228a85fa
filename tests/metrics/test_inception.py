"""The FID Inception gives torch-fidelity's numbers, and loads no file that it should not."""

import os
import pickle
from pathlib import Path

import pytest
import torch
from torch.utils.data import Dataset

from diffexp.data import CIFAR10
from diffexp.errors import ConfigError, DataError
from diffexp.metrics import KID, Inception, Manifold, Statistics, extract, frechet_distance
from diffexp.metrics.inception import FILE


@pytest.fixture(scope="module")
def weights():
    folder = os.environ.get("DIFFEXP_WEIGHTS")
    file = Path(folder or "", "inception2015_to_mixed6e_fp16.pth")
    if folder is None or not file.is_file():
        pytest.skip("DIFFEXP_WEIGHTS names no folder with the Inception up to Mixed_6e")
    return str(file)


@pytest.fixture(scope="module")
def photographs():
    folder = os.environ.get("DIFFEXP_DATA")
    if folder is None or not Path(folder, "cifar10_test.npz").is_file():
        pytest.skip("DIFFEXP_DATA names no folder with CIFAR-10")
    return CIFAR10(folder).split("test").images


class Rows(Dataset):
    def __init__(self, images):
        self.images = images

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        return self.images[i]


def loaded(weights, feature, shape=(3, 32, 32)):
    extractor = Inception(feature, weights)
    extractor.check(shape)
    return extractor


def measured(weights, feature, a, b):
    """(ours, torch-fidelity's) of the same images, each metric."""
    from torch_fidelity import calculate_metrics

    extractor = loaded(weights, feature)
    both, features = [Statistics(extractor.dim) for _ in range(2)], []
    for statistics, images in zip(both, (a, b), strict=True):
        features.append(extract(extractor, images))
        statistics.update(features[-1])
    ours = {"fid": frechet_distance(*both)}
    for metric in (KID(subsets=10, subset_size=20), Manifold(k=3)):
        ours |= metric.of(features[1], features[0])  # input1 is what was generated
    theirs = calculate_metrics(
        input1=Rows(a),
        input2=Rows(b),
        fid=True,
        kid=True,
        prc=True,
        kid_subsets=10,
        kid_subset_size=20,
        prc_neighborhood=3,
        feature_extractor="inception-v3-compat",
        feature_layer_fid=str(feature),
        feature_layer_kid=str(feature),
        feature_layer_prc=str(feature),
        feature_extractor_weights_path=weights,
        cuda=False,
        cache=False,
        verbose=False,
        save_cpu_ram=True,
    )
    names = {"fid": "frechet_inception_distance", "kid": "kernel_inception_distance_mean",
        "kid_std": "kernel_inception_distance_std", "precision": "precision", "recall": "recall"}  # fmt: skip
    return [(ours[key], theirs[name]) for key, name in names.items()]


def random_weights(file):
    """Of every layer, random; the variances are 1."""
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3 as Theirs

    class Unread(Theirs):
        def load_state_dict(self, state):
            return None

    torch.save({}, file)
    draw = torch.Generator().manual_seed(0)
    state = Unread("x", ["64"], feature_extractor_weights_path=str(file)).state_dict()
    for name, value in state.items():
        if value.is_floating_point() and not name.endswith("running_var"):
            state[name] = torch.randn(value.shape, generator=draw) * max(1, value[0].numel()) ** -0.5
    return state


@pytest.mark.filterwarnings("default")  # torch-fidelity's own
def test_images_that_are_not_square(tmp_path):
    """Transposed images and kernels give the same features: both sides are resized, each by its own."""
    state, files = random_weights(tmp_path / "a.pth"), [tmp_path / f"{name}.pth" for name in "ab"]
    turned = {k: v.mT if v.ndim == 4 and v.shape[2] == v.shape[3] else v for k, v in state.items()}
    for file, weights in zip(files, (state, turned), strict=True):
        torch.save({name: value.contiguous() for name, value in weights.items()}, file)
    images = torch.randint(256, (3, 3, 16, 24), generator=torch.Generator().manual_seed(1)).byte()
    a, b = loaded(str(files[0]), 64, (3, 16, 24)), loaded(str(files[1]), 64, (3, 24, 16))
    want, got = extract(a, images), extract(b, images.mT.contiguous())
    assert want.shape == (3, 64) and want.std() > 1e-2 and (want[0] - want[1]).abs().max() > 1e-3
    torch.testing.assert_close(got, want, rtol=1e-3, atol=1e-4)
    assert not torch.allclose(extract(a, images.mT.contiguous()), want, atol=1e-3)


@pytest.mark.filterwarnings("default")  # torch-fidelity's own
def test_metrics_of_photographs_are_those_of_torch_fidelity(weights, photographs):
    found = measured(weights, 768, photographs[:24], photographs[24:48])
    for ours, theirs in found:
        assert ours == pytest.approx(theirs, abs=1e-3)
    (fid, _), (kid, _), _, (precision, _), _ = found
    assert fid > 0.1 and abs(kid) > 1e-5 and 0.2 < precision < 1


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("feature", [64, 192, 768])
def test_metrics_of_more_photographs_are_those_of_torch_fidelity(weights, photographs, feature):
    for ours, theirs in measured(weights, feature, photographs[:512], photographs[512:1024]):
        assert ours == pytest.approx(theirs, abs=1e-3)


@pytest.mark.filterwarnings("default")
def test_logits_are_those_of_torch_fidelity(weights, tmp_path):
    """With random numbers where this file has none, in the last layers."""
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3 as Theirs

    draw, state = torch.Generator().manual_seed(0), torch.load(weights, weights_only=True)
    for name, value in state.items():
        if not value.isfinite().all():
            state[name] = torch.rand(value.shape, generator=draw) / 10
    torch.save(state, file := tmp_path / "whole.pth")
    images = torch.randint(256, (2, 3, 32, 32), generator=draw, dtype=torch.uint8)
    want = Theirs("x", ["logits_unbiased"], feature_extractor_weights_path=str(file))(images)[0]
    extractor = loaded(str(file), 2048)
    assert extractor.classifies and not Inception(768).classifies
    found = extractor.logits(extract(extractor, images))
    assert (found - want).abs().max() < 1e-4 * want.abs().max()


def test_names_and_layers(weights, photographs):
    for feature in (64, 192):
        extractor = loaded(weights, feature)
        features = extract(extractor, photographs[:2])
        assert features.shape == (2, feature) and features.dtype == torch.float32
        assert (extractor.name, extractor.dim) == (f"inception{feature}", feature)
        assert extractor.sha256.startswith("cc5083b16736c1fc")


def test_grey_is_the_same_as_three_equal_channels(weights, photographs):
    grey = photographs[:2, :1]
    extractor = loaded(weights, 64, (1, 32, 32))
    assert torch.equal(extract(extractor, grey), extract(extractor, grey.repeat(1, 3, 1, 1)))


def test_autocast_around_changes_nothing(weights, photographs):
    extractor = loaded(weights, 64)
    plain = extract(extractor, photographs[:2])
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(extract(extractor, photographs[:2]), plain)


def test_loading_leaves_the_generator_alone(weights):
    state = torch.get_rng_state()
    loaded(weights, 64)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_layer_that_the_file_lacks_is_refused_before_training(weights):
    with pytest.raises(DataError, match=r"not numbers at layer 2048[\s\S]*feature=768"):
        Inception(2048, weights).check((3, 32, 32))


def test_a_file_that_is_not_there(tmp_path):
    """What is to be typed instead fits the images: small grey ones have classifiers that are shipped."""
    for shape, instead in (
        ((3, 32, 32), "type metrics=none"),
        ((1, 28, 28), "type metrics=fashion_mnist or metrics=mnist or metrics=none"),
        ((1, 8, 8), "type metrics=digits or metrics=none"),
    ):
        with pytest.raises(DataError, match=r"no such weights file[\s\S]*x.pth") as caught:
            Inception(2048, str(tmp_path / "x.pth")).check(shape)
        assert caught.value.do.endswith(f"metrics.extractor.weights=PATH; or {instead}")


def test_no_file_and_no_network(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(
        "torch_fidelity.feature_extractor_inceptionv3.URL_INCEPTION_V3", "http://127.0.0.1:9/x"
    )
    with pytest.raises(DataError) as caught:
        Inception().check((3, 32, 32))
    assert str(tmp_path / "checkpoints" / FILE) in caught.value.where
    assert "could not be downloaded" in caught.value.what and "metrics=none" in caught.value.do


def test_a_damaged_official_file(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / FILE).write_bytes(b"cut off")
    with pytest.raises(DataError, match=r"sha256 of this file is .*, not 6726825d0af5f729"):
        Inception().check((3, 32, 32))


def test_another_file_than_the_one_expected(weights):
    with pytest.raises(DataError, match=r"is cc5083b16736c1fc\.\.\., not 0000000000000000"):
        Inception(64, weights, sha256="0" * 64).check((3, 32, 32))


def test_a_file_with_code_in_it_runs_none(tmp_path):
    class Trap:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    file = tmp_path / "trap.pth"
    file.write_bytes(pickle.dumps({"fc.weight": Trap()}))
    with pytest.raises(DataError, match="not a weights file of the FID Inception"):
        Inception(64, str(file)).check((3, 32, 32))
    assert not (tmp_path / "ran").exists()


def test_weights_of_another_network(tmp_path):
    torch.save({"weight": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(DataError, match="not a weights file of the FID Inception"):
        Inception(64, str(tmp_path / "other.pth")).check((3, 32, 32))


def test_wrong_layer_and_wrong_channels():
    with pytest.raises(ConfigError, match=r"no layer of 100 features[\s\S]*64, 192, 768 or 2048"):
        Inception(100)
    with pytest.raises(ConfigError, match="1 or 3 channels, not 4"):
        Inception(64).check((4, 8, 8))
