"""A small classifier of small grey images, whose last hidden layer serves as features: nothing to download.

It judges clean images, for metrics; the one of noisy images, for guidance, is networks/noisy_classifier.py.

    image -> conv 3x3 (32) -> max 2 -> conv 3x3 (64) -> conv 3x3 (64) -> average to 3x3 -> linear (64)
          = features -> SiLU -> linear (classes)

102,000 weights, trained on the train split of their data by `python -m diffexp.metrics.train_classifier NAME`
and shipped in float16. That command prints the share of the test split (unseen) that they recognise:

    digits 100.00 %   mnist 99.37 %   fashion_mnist 91.10 %
"""

import json
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor, nn

from diffexp.errors import ConfigError, DataError
from diffexp.hub import at, is_file, reason
from diffexp.metrics.extractor import Extractor, sha256_of
from diffexp.metrics.weights import check_floats, text, whole

DIM = 64
SHIPPED = Path(__file__).parent / "weights"


def network(classes: int) -> tuple[nn.Sequential, nn.Sequential]:
    """Build float (B, 1, H, W) -> features (B, 64), and features -> logits (B, classes)."""
    body = nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1),
        nn.SiLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1),
        nn.SiLU(),
        nn.Conv2d(64, 64, 3, padding=1),
        nn.SiLU(),
        nn.AdaptiveAvgPool2d(3),
        nn.Flatten(),
        nn.Linear(64 * 9, DIM),
    )
    return body, nn.Sequential(nn.SiLU(), nn.Linear(DIM, classes))


class SmallClassifier(Extractor):
    """The features (B, 64) of a small classifier, named after its data (digits64), and its judgement.

    weights: digits, mnist or fashion_mnist, which are shipped, or a file that the training command wrote.
    """

    dim = DIM

    def __init__(self, weights: str = "digits") -> None:
        super().__init__()
        shipped = SHIPPED / f"{weights}.safetensors"
        self.file = shipped if is_file(shipped) else at(weights)
        about, state = _read(self.file)
        self.data, self.shape, self.classes = about
        self.name = f"{self.data.removesuffix('_mnist')}{DIM}"
        self.sha256 = sha256_of(self.file)
        with torch.device("meta"):  # draws no random weights
            self.body, self.head = network(self.classes)
        try:
            self.load_state_dict(state, assign=True)
        except RuntimeError as error:  # other names, other shapes
            lines = str(error).splitlines()
            raise _broken(self.file, lines[-1].strip()) from error
        self.requires_grad_(False).eval()

    def check(self, shape: tuple[int, int, int]) -> None:
        """Raise ConfigError for images of another size than those it was trained on."""
        if shape != self.shape:
            size = "x".join(map(str, shape))
            what = f"{self.name} measures images of {'x'.join(map(str, self.shape))}, not {size}"
            raise ConfigError(what, "metrics", instead(shape, "metrics=inception"))

    def forward(self, images: Tensor) -> Tensor:
        """Map uint8 (B, 1, H, W) to features, float32 (B, 64)."""
        return self.body(images.float() / 127.5 - 1)

    classifies = True

    def logits(self, features: Tensor) -> Tensor:
        """Map features, float (B, 64), to logits (B, classes)."""
        with torch.no_grad():
            return self.head(features)

    def classify(self, features: Tensor) -> Tensor:
        """Map features, float (B, 64), to int64 (B,), the class of each."""
        return self.head(features).argmax(1)

    def predict(self, images: Tensor) -> Tensor:
        """Map uint8 (B, 1, H, W) to int64 (B,), the class of each."""
        return self.classify(self(images))


def instead(shape: tuple[int, int, int], otherwise: str = "") -> str:
    """Return what to type for the metrics of images (C, H, W): a classifier that is shipped for such images,
    if there is one, or else something else, or none.
    """
    files = sorted(SHIPPED.glob("*.safetensors"))
    fitting = [f"metrics={file.stem}" for file in files if _read(file)[0][1] == shape]
    words = [*(fitting or filter(None, [otherwise])), "metrics=none"]
    return f"type {' or '.join(words)}"


def _read(file: Path) -> tuple[tuple[str, tuple[int, int, int], int], dict[str, Tensor]]:
    """Read what the file says about itself, (data, shape, classes), and its weights in float32."""
    if not is_file(file):
        names = ", ".join(sorted(path.stem for path in SHIPPED.glob("*.safetensors")))
        do = f"type one of {names}, or the path of a file; or metrics=none"
        raise DataError("there is no such weights file", str(file), do)
    try:
        with safe_open(file, "pt") as opened:
            about = _about((opened.metadata() or {})["about"])
            state = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118
        check_floats(state)
    except Exception as error:  # the ways in which a foreign file can be wrong have no common type
        raise _broken(file, reason(error)) from error
    return about, {key: value.float() for key, value in state.items()}


def _about(metadata: str) -> tuple[str, tuple[int, int, int], int]:
    about = json.loads(metadata)
    if not isinstance(about, dict):
        raise ValueError("it tells nothing of itself")
    shape = about.get("shape")
    if not isinstance(shape, list) or len(shape) != 3 or shape[0] != 1:
        raise ValueError(f"shape is {shape!r:.60}, not that of a grey image")
    height, width = (whole({"shape": side}, "shape", 4096) for side in shape[1:])
    return text(about, "data"), (1, height, width), whole(about, "classes", 100_000)


def _broken(file: Path, why: str) -> DataError:
    do = "write one by python -m diffexp.metrics.train_classifier"
    return DataError(f"this is not a weights file of a classifier ({why})", str(file), do)
