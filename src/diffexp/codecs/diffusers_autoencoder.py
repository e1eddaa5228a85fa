"""An autoencoder of diffusers, AutoencoderKL, in a folder: that of Stable Diffusion, say."""

# diffusers gives its functions no types
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import json
from functools import cached_property
from typing import Any, Literal

from torch import Tensor, nn

from diffexp.codecs.autoencoded import FOLDER, Autoencoded, Shape
from diffexp.errors import ConfigError, DataError
from diffexp.files import read_json
from diffexp.hub import at, check_folder, is_file, reason

CONFIG, WEIGHTS = "config.json", "diffusion_pytorch_model.safetensors"
_MOST = {"latent_channels": 512, "in_channels": 64, "layers_per_block": 32}
_LEVELS, _WIDTH = 8, 8192
_DECODER = ("network.decoder.", "network.post_quant_conv.")


class DiffusersAutoencoder(Autoencoded):
    """path: the folder, with config.json and diffusion_pytorch_model.safetensors; no code of it is run.

    scale, centre, cache, folder: see Autoencoded. The scaling_factor of the folder is not used.
    """

    def __init__(
        self,
        path: str | None = None,
        scale: Literal["all", "channel"] | float = "all",
        centre: bool = True,
        cache: bool = True,
        folder: str = FOLDER,
    ) -> None:
        super().__init__(scale, centre, cache, folder)
        self.source = path

    @cached_property
    def config(self) -> dict[str, Any]:
        """The config.json of the folder. Raises DiffexpError."""
        if self.source is None:
            do = "type codec.path=FOLDER, of an AutoencoderKL of diffusers"
            raise ConfigError("codec=autoencoder_diffusers needs a folder", "codec.path", do)
        folder = at(self.source)
        if missing := [name for name in (CONFIG, WEIGHTS) if not is_file(folder / name)]:
            do = f"type codec=autoencoder_diffusers codec.path=FOLDER, which has {CONFIG} and {WEIGHTS}"
            raise DataError(f"there is no {missing[0]}", str(folder), do)
        check_folder(folder)
        config = read_json(folder / CONFIG)
        if fault := _fault(config):
            raise DataError(fault, str(folder / CONFIG), "give a folder of diffusers' AutoencoderKL")
        return config

    def sized(self, shape: Shape) -> tuple[Shape, None]:
        channels, latent = self.config.get("in_channels", 3), self.config.get("latent_channels", 4)
        times, where = 2 ** (len(self.config["block_out_channels"]) - 1), f"codec.path={self.source}"
        if shape[0] != channels:
            what = f"images of {shape[0]} channels, and an autoencoder of {channels}"
            raise ConfigError(what, where, "take an autoencoder of such images")
        if shape[1] % times or shape[2] % times:
            what = f"images of {shape[1]}x{shape[2]} cannot be made {times} times smaller"
            raise ConfigError(what, where, "take another autoencoder, or images of other sides (data.size)")
        return (latent, shape[1] // times, shape[2] // times), None

    def check(self) -> None:
        assert self.config
        _diffusers()

    def load(self) -> None:
        kind, folder = _diffusers().AutoencoderKL, at(str(self.source))
        options = {"local_files_only": True, "use_safetensors": True, "low_cpu_mem_usage": False}
        try:
            network, info = kind.from_pretrained(folder, output_loading_info=True, **options)
        except Exception as error:  # of a foreign folder: no common type
            what = f"this autoencoder cannot be read ({reason(error)[:200]})"
            raise DataError(what, str(folder), "give a folder of diffusers' AutoencoderKL") from error
        names = [n for key in ("missing_keys", "unexpected_keys", "mismatched_keys") for n in info[key]]
        if names:
            what = f"its weights do not fit its {CONFIG}: {names[0]}"
            raise DataError(what, str(folder), "get the folder again")
        self.put(_Network(network), json.dumps(self.config, sort_keys=True), _DECODER)


class _Network(nn.Module):
    """The module of diffusers with the methods of ours."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        of = self.network.encode(x).latent_dist
        return of.mean, of.logvar

    def decode(self, z: Tensor) -> Tensor:
        return self.network.decode(z).sample


def _fault(config: dict[str, Any]) -> str:
    """Return what is wrong with a config.json, "" for a sound one."""
    if config.get("_class_name") != "AutoencoderKL":
        return f"it is {str(config.get('_class_name'))[:60]}, and no AutoencoderKL"
    widths = config.get("block_out_channels")
    if not isinstance(widths, list) or not 1 <= len(widths) <= _LEVELS:
        return f"block_out_channels is no list of 1 to {_LEVELS}"
    numbers = [("block_out_channels", width, _WIDTH) for width in widths]
    numbers += [(key, config.get(key, 1), most) for key, most in _MOST.items()]
    wrong = [f"{k}={str(v)[:20]}" for k, v, most in numbers if type(v) is not int or not 1 <= v <= most]
    return wrong[0] if wrong else ""


def _diffusers() -> Any:
    """Import diffusers. Raises ConfigError where it is not installed."""
    try:
        import diffusers
    except ImportError as error:
        do = "pip install 'diffexp[diffusers]', or train one: task=autoencoder"
        raise ConfigError("diffusers is not installed", "codec=autoencoder_diffusers", do) from error
    return diffusers
