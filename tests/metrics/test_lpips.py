"""The perceptual term: a distance with a gradient, from a file that is what it says."""

import pickle

import pytest
import torch
from torchvision.models import squeezenet1_1

from diffexp.diffusion import Chain, Denoiser, FixedSmall, Objective, Uniform, V, cosine
from diffexp.errors import ConfigError, DataError
from diffexp.metrics import LPIPS
from diffexp.randomness import generator


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A real trunk, whose weights are random."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        state = squeezenet1_1(weights=None).state_dict()
    path = tmp_path_factory.mktemp("trunk") / "squeeze.pth"
    torch.save(state, path)
    return str(path)


def images(seed, n=3, channels=1, size=8):
    return torch.rand(n, channels, size, size, generator=generator(seed)) * 2 - 1


def test_a_distance(weights):
    far = LPIPS(net="squeeze", weights=weights)
    a, b = images(0), images(1)
    assert far(a, b).shape == (3,) and (far(a, b) > 0).all()
    assert not far(a, a).any()
    torch.testing.assert_close(far(a, b), far(b, a))
    near = far(a, a + 0.1 * (b - a))
    assert (near < far(a, b)).all()
    torch.testing.assert_close(far(a, b), far(a.expand(-1, 3, -1, -1), b.expand(-1, 3, -1, -1)))


def test_it_is_that_of_torchmetrics_on_the_same_trunk(weights):
    from torchmetrics.functional.image.lpips import _LPIPS

    theirs = _LPIPS(net="squeeze", pnet_rand=True)
    trunk = squeezenet1_1(weights=None)
    trunk.load_state_dict(torch.load(weights, weights_only=True))
    for part in theirs.net.slices:
        for name, layer in part.named_children():
            layer.load_state_dict(trunk.features[int(name)].state_dict())
    a, b = images(2, channels=3, size=64), images(3, channels=3, size=64)
    ours = LPIPS(net="squeeze", weights=weights)(a, b)
    torch.testing.assert_close(ours, theirs(a, b).flatten())


def test_the_shorter_side_is_enlarged_and_the_shape_kept(weights):
    far = LPIPS(net="squeeze", weights=weights)
    a, b = (torch.rand(2, 3, 8, 12, generator=generator(seed)) * 2 - 1 for seed in (4, 5))
    larger = [torch.nn.functional.interpolate(x, (64, 96), mode="bilinear") for x in (a, b)]
    torch.testing.assert_close(far(a, b), far(*larger))


def test_as_a_term_it_is_added_with_its_scale_and_trains(weights):
    net = torch.nn.Conv2d(1, 1, 3, padding=1)

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = net

        def forward(self, x, t, cond=None):
            return self.conv(x)

    denoiser = Denoiser(Net(), cosine(), V(), FixedSmall())
    term = LPIPS(scale=0.5, net="squeeze", weights=weights)
    x0, noise = images(0), torch.randn(3, 1, 8, 8, generator=generator(5))
    t = torch.tensor([100, 400, 900]).double() / 1000
    plain, both = (
        Objective(Uniform(), Chain(), terms=terms).at(denoiser, x0, None, t, noise)
        for terms in ({}, {"lpips": term})
    )
    level = cosine()(t.view(-1, 1, 1, 1))
    x_t = (level.alpha * x0 + level.sigma * noise).float()
    want = 0.5 * term(denoiser(x_t, t.view(-1, 1, 1, 1)).x0, x0)
    torch.testing.assert_close(both.parts["lpips"], want.detach(), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(both.each, plain.each + want.detach(), rtol=1e-4, atol=1e-6)
    (grad,) = torch.autograd.grad(both.loss - plain.loss, net.weight)
    assert grad.abs().max() > 0
    assert not list(Objective(Uniform(), Chain(), terms={"lpips": term}).parameters())  # none to train


def test_refusals(weights, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(ConfigError, match=r"there is no .*vgg16-397923af.pth\n  at: terms.lpips.weights"):
        LPIPS().check()
    named = tmp_path / "vgg16-397923af.pth"
    named.write_bytes(b"else")
    with pytest.raises(DataError, match="sha256 of this file begins with"):
        LPIPS(weights=str(named)).check()
    with pytest.raises(DataError, match="it is not of alex"):
        LPIPS(net="alex", weights=weights)(images(0), images(1))
    with pytest.raises(ConfigError, match="net=vgg, squeeze or alex"):
        LPIPS(net="resnet")


class Evil:
    """Writes a file when it is unpickled by a loader that executes."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (self.path, "w"))


def test_a_pickle_is_not_executed(tmp_path):
    path, mark = tmp_path / "trunk.pth", tmp_path / "mark"
    path.write_bytes(pickle.dumps(Evil(str(mark))))
    with pytest.raises(DataError, match="these are no weights"):
        LPIPS(net="squeeze", weights=str(path))(images(0), images(1))
    assert not mark.exists()
