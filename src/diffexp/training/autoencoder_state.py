"""The weights of an autoencoder: which of them are trained, and all of them in a checkpoint and out again."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from torch import Tensor, nn

from diffexp.codecs.autoencoded import DECODER
from diffexp.errors import ConfigError, DataError
from diffexp.model.begin import Fit
from diffexp.model.find import AUTOENCODER
from diffexp.model.format import FORMAT
from diffexp.model.trainable import detached, few, fill


class Weights:
    """A choice of the weights that are trained: all, or those of the decoder, where latents are to stay as
    they are. Raises ConfigError.
    """

    def __init__(self, which: Literal["all", "decoder"] = "all") -> None:
        if which not in ("all", "decoder"):
            raise ConfigError(f"train={which}", "autoencoder.train", "give all or decoder")
        self.which = which

    def parameters(self, model: nn.Module) -> list[nn.Parameter]:
        """Return what is trained; the rest gets no gradient from then on."""
        if self.which == "decoder":
            for name, p in model.named_parameters():
                p.requires_grad_(name.startswith(DECODER))
        trained = [p for p in model.parameters() if p.requires_grad]
        if not trained:
            what = "this network has no part named decoder"
            raise ConfigError(what, "autoencoder.train", "type autoencoder.train=all")
        return trained

    def state(self, model: nn.Module) -> dict[str, Tensor]:
        """Return all of its weights, by name."""
        return dict(model.state_dict(keep_vars=True))

    def load(self, model: nn.Module, state: Mapping[str, Any], path: Path) -> None:
        """Put the weights of a file into it. Raises DataError."""
        fill(self.state(model), state, path)

    def still(self, model: Any) -> None:
        """Take dropout out of an encoder that is not trained."""
        if self.which == "decoder":
            model.encoder.eval()

    def check(self, fit: Fit) -> None:
        """Raise ConfigError where the decoder alone is trained, and the encoder is not that of the file."""
        lost = [name for name in (*fit.new, *fit.other) if not name.startswith(DECODER)]
        if self.which == "decoder" and lost:
            what = f"the encoder of this run is another: {few(lost)}"
            do = "type the autoencoder.network of that run, or autoencoder.train=all"
            raise ConfigError(what, f"init={fit.path}", do)


def put_state(
    checkpoint: dict[str, Any],
    network: nn.Module,
    averages: Sequence[nn.Module],
    others: Mapping[str, nn.Module],
    shape: Sequence[int],
) -> None:
    """Put all weights into Lightning's checkpoint; others: what is learned beside the network."""
    del checkpoint["state_dict"]
    checkpoint["trained"] = detached(network.state_dict())
    checkpoint["ema"] = [detached(average.state_dict()) for average in averages]
    checkpoint["objective"] = detached(_joined(others))
    checkpoint["diffexp"] = {"format": FORMAT, "kind": AUTOENCODER, "shape": list(shape)}


def take_state(
    checkpoint: Mapping[str, Any],
    network: nn.Module,
    averages: Sequence[nn.Module],
    others: Mapping[str, nn.Module],
    shape: Sequence[int],
    path: Path,
) -> None:
    """Put what a checkpoint holds into its places. Raises DataError where it does not fit, naming it."""
    description, do = checkpoint["diffexp"], f"begin another run with its weights: init={path}"
    if description.get("kind") != AUTOENCODER:
        raise DataError("it is the checkpoint of no autoencoder", str(path), "use one of task=autoencoder")
    if description.get("shape") != list(shape):
        what = f"the images are now {list(shape)}, and were {description.get('shape')}"
        raise DataError(f"{what} (channels, height, width)", str(path), f"put them back, or {do}")
    if len(checkpoint["ema"]) != len(averages):
        what = f"the checkpoint has {len(checkpoint['ema'])} averages, and the run {len(averages)}"
        raise DataError(what, str(path), "type the ema.decays that the run was begun with")
    for module, state in zip([network, *averages], [checkpoint["trained"], *checkpoint["ema"]], strict=True):
        fill(module.state_dict(keep_vars=True), state, path)
    fill(_joined(others), checkpoint["objective"], path)


def _joined(parts: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    return {
        f"{part}.{name}": value
        for part, module in parts.items()
        for name, value in module.state_dict(keep_vars=True).items()
    }
