"""Images that a trained model makes itself, to be trained on beside those of a new thing (prior preservation,
Ruiz et al. 2023): what it knew is then still asked for.
"""

from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor

from diffexp.condition import Asked
from diffexp.data.captions import Texts
from diffexp.data.dataset import DataSet, Splits
from diffexp.data.memory import InMemory
from diffexp.data.mix import Mix
from diffexp.diffusion.clip import Clip
from diffexp.diffusion.guidance import Guidance
from diffexp.errors import ConfigError, check_at_most
from diffexp.model.restore import Restored
from diffexp.samplers import Sampler, check
from diffexp.training.general import CACHE, How, base_model, general, images_of, is_made

WHAT = "prior images"


class PriorImages(DataSet):
    """`n` images by the run `ckpt`: of `prompts` in turn, or of the captions, or the classes, that it was
    trained on. All are in each split, so they measure nothing.

    seed: of their noise. batch_size: images at a time. folder: where they are kept; they are made once, and
    again where a file is damaged or was cut. Raises ConfigError, and DataError when they are asked for.
    """

    name = "prior"

    def __init__(
        self,
        ckpt: str | None,
        sampler: Sampler,
        guidance: Guidance,
        clip: Clip,
        n: int = 1000,
        prompts: Sequence[str] | None = None,
        seed: int = 0,
        batch_size: int = 250,
        folder: str = CACHE,
    ) -> None:
        for key, value in (("n", n), ("batch_size", batch_size)):
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ConfigError(f"{key}={value!r:.40}", f"data.{key}", "give 1 or more")
        check_at_most(10**7, "data", n=n)
        if isinstance(prompts, str):
            raise ConfigError("prompts is one text", "data.prompts", "give a list: 'data.prompts=[\"...\"]'")
        self.ckpt, self.n, self.prompts, self.folder = ckpt, n, prompts, folder
        self.how = How(sampler, guidance, clip, seed, batch_size)
        self.device = torch.device("cpu")

    @cached_property
    def base(self) -> Restored:
        """The model that makes them. Raises ConfigError, DataError."""
        if self.ckpt is None:
            what = "there is no run that could make the prior images"
            raise ConfigError(what, "init", "type init=RUN, or the run as ckpt of the part")
        return base_model(self.ckpt)

    @cached_property
    def asked(self) -> Asked:
        """The request for each image."""
        check(self.base.model, self.how.sampler, self.how.guidance)
        return general(self.base, self.n, "train", self.prompts)

    @property
    def shape(self) -> tuple[int, int, int]:
        channels, height, width = self.base.model.shape
        return channels, height, width

    @property
    def classes(self) -> tuple[str, ...] | None:
        model = self.base.model
        return model.class_names if "label" in model.conditioning.asks else None

    def check(self) -> None:
        """Check nothing: the run is read when images are asked for, and who measures asks for none."""

    def read(self) -> Splits:
        images = _Made(self)
        return Splits(images, images, images)

    def images(self) -> Tensor:
        """Return the images, uint8 (n, C, H, W), made where they are not kept."""
        return images_of(self.base, self.asked, self.how, self.device, self.folder, WHAT)

    def plan(self) -> str:
        """Return a line on whether they would be made."""
        there = is_made(self.base, self.asked, self.how, self.device, self.folder)
        done = "are there" if there else "are made before training"
        return f"{self.n:,} {WHAT} by {self.base.path} {done} ({self.how.sampler})"


class _Made(InMemory):
    """A split whose images are made when the first one is asked for."""

    def __init__(self, data: PriorImages) -> None:  # pyright: ignore[reportMissingSuperCall]
        self.data, asked = data, data.asked
        self.captions = None if asked.text is None else Texts(asked.text)
        self.labels, self.sizes = asked.label, None

    def __len__(self) -> int:
        return self.data.n

    @cached_property
    def images(self) -> Tensor:  # type: ignore[override]
        return self.data.images()


def prior_of(data: DataSet) -> list[PriorImages]:
    """Return the prior images among the training images, if there are some."""
    parts = data.used.values() if isinstance(data, Mix) else [data]
    return [part for part in parts if isinstance(part, PriorImages)]


def make_prior(data: DataSet, device: torch.device) -> None:
    """Make the prior images of a training, on this device, before it begins. Raises DiffexpError."""
    for part in prior_of(data):
        part.device = device
        part.split("train").batch(torch.arange(1))
