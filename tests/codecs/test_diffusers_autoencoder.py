"""A folder of diffusers' AutoencoderKL gives what diffusers itself gives, and runs nothing of others."""

import json
import shutil

import pytest
import torch

from diffexp.codecs.diffusers_autoencoder import CONFIG, WEIGHTS, DiffusersAutoencoder
from diffexp.errors import ConfigError, DataError

pytestmark = pytest.mark.filterwarnings("ignore")  # of diffusers


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    from diffusers import AutoencoderKL

    torch.manual_seed(0)
    made = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(8, 16),
        norm_num_groups=4,
    )
    made.save_pretrained(path := tmp_path_factory.mktemp("kl"), safe_serialization=True)
    return path


@pytest.fixture
def image():
    return torch.randint(256, (5, 3, 16, 8), generator=torch.Generator().manual_seed(0)).to(torch.uint8)


def test_it_encodes_and_decodes_as_diffusers_does(folder, image):
    from diffusers import AutoencoderKL

    codec, theirs = DiffusersAutoencoder(str(folder)), AutoencoderKL.from_pretrained(folder)
    assert codec.latent((3, 16, 8)) == (4, 8, 4)
    codec.check()
    codec.load()
    with torch.no_grad():
        posterior = theirs.encode(image.float() / 127.5 - 1).latent_dist
        mean, deviation = codec.moments(image).chunk(2, 1)
        assert (mean - posterior.mean).abs().max() < 1e-5 and (deviation - posterior.std).abs().max() < 1e-5
        assert deviation.min() > 0
        back = ((theirs.decode(posterior.mean).sample + 1) * 127.5).round().clamp(0, 255)
    assert (codec.decode(codec.encode(image)).float() - back).abs().max() <= 1  # a rounding apart
    assert not [p for p in codec.parameters() if p.requires_grad]


def changed(folder, to, **config):
    shutil.copytree(folder, to)
    held = json.loads((to / CONFIG).read_text())
    (to / CONFIG).write_text(json.dumps({**held, **config}))
    return DiffusersAutoencoder(str(to))


@pytest.mark.parametrize(("config", "what"), [
    ({"_class_name": "UNet2DModel"}, "it is UNet2DModel, and no AutoencoderKL"),
    ({"auto_map": {"x": "y--z"}}, "names code that is not run"),
    ({"block_out_channels": [8] * 30}, "block_out_channels is no list of 1 to 8"),
    ({"block_out_channels": [8, 1 << 40]}, "block_out_channels=1099511627776"),
    ({"latent_channels": "4"}, "latent_channels=4"),
    ({"layers_per_block": 10**9}, "layers_per_block=1000000000"),
])  # fmt: skip
def test_a_config_that_is_none_is_refused(folder, tmp_path, config, what):
    with pytest.raises(DataError, match=what):
        changed(folder, tmp_path / "kl", **config).latent((3, 16, 16))


def test_weights_that_do_not_fit_are_refused(folder, tmp_path):
    codec = changed(folder, tmp_path / "kl", mid_block_add_attention=False)
    with pytest.raises(DataError, match=r"its weights do not fit its config\.json"):
        codec.load()


def test_only_safetensors_are_read(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "kl")
    torch.save({}, tmp_path / "kl" / "diffusion_pytorch_model.bin")
    (tmp_path / "kl" / WEIGHTS).unlink()
    with pytest.raises(DataError, match=f"there is no {WEIGHTS}"):
        DiffusersAutoencoder(str(tmp_path / "kl")).latent((3, 16, 16))


def test_what_it_needs_is_said(folder):
    with pytest.raises(ConfigError, match=r"codec=autoencoder_diffusers needs a folder\n  at: codec\.path"):
        DiffusersAutoencoder().latent((3, 16, 16))
    with pytest.raises(ConfigError, match="images of 1 channels, and an autoencoder of 3"):
        DiffusersAutoencoder(str(folder)).latent((1, 16, 16))
    with pytest.raises(ConfigError, match="images of 15x16 cannot be made 2 times smaller"):
        DiffusersAutoencoder(str(folder)).latent((3, 15, 16))
