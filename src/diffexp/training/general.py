"""What a trained model is asked for in general, and the images that it makes of that: those which a
fine-tuned one is not to forget, and is compared with.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diffexp.condition import Asked
from diffexp.config.build import build
from diffexp.config.check import check
from diffexp.config.untrusted_paths import settled
from diffexp.data.dataset import DataSet, SplitName
from diffexp.diffusion.clip import Clip
from diffexp.diffusion.guidance import Guidance
from diffexp.errors import ConfigError, DataError
from diffexp.metrics.cache import cached
from diffexp.model.ask import ask
from diffexp.model.checkpoint import digest
from diffexp.model.find import find, named_by, read
from diffexp.model.restore import Restored, judged, restore
from diffexp.notice import say
from diffexp.progress import counting
from diffexp.samplers import Sampler, generate

CACHE = "~/.cache/diffexp/prior"
FORMAT = 1


@dataclass(frozen=True)
class How:
    """The way in which images are made; batch_size: at a time."""

    sampler: Sampler
    guidance: Guidance
    clip: Clip
    seed: int = 0
    batch_size: int = 250


def base_model(path: str) -> Restored:
    """Return the model of a run, with its averaged weights where it has some. Raises DataError."""
    with named_by("init"):
        return restore(path, 0 if read(find(path, "init")).get("ema") else None)


def general(base: Restored, n: int, split: SplitName, prompts: Sequence[str] | None = None) -> Asked:
    """Ask for n images of all that the model knows: its classes in turn; of a model that is told captions the
    prompts in turn, or those of its own data, the first of each image, with their classes.

    Raises ConfigError, DataError.
    """
    asks = base.model.conditioning.asks
    if "text" not in asks or prompts:
        return ask(base.model, n, text=prompts or None)
    texts, labels = _captions(json.dumps(base.config.get("data")), base.path, n, split)
    return ask(base.model, n, labels if "label" in asks else None, texts)


@lru_cache(maxsize=4)
def _captions(node: str, path: Path, n: int, split: SplitName) -> tuple[list[str], list[int]]:
    """Return n captions, or all, of a split of the data that a run was trained on, with their classes: kept
    from the check to the run.
    """
    texts, labels = list[str](), list[int]()
    for batch in _data_of(json.loads(node), path).batches(split, 256):
        texts += batch.text or ()
        labels += [] if batch.label is None else batch.label.tolist()
        if len(texts) >= n:
            break
    if not texts:
        raise DataError("the data that this run was trained on has no captions", str(path))
    return texts, labels


def _data_of(node: Any, path: Path) -> DataSet:
    if not isinstance(node, dict):
        raise DataError("config.data of the checkpoint is missing", str(path), "name the prompts")
    root = os.environ.get("DIFFEXP_DATA", "~/.cache/diffexp")
    nodes = settled(judged({"data": node}, ()), (), root, path)
    check(nodes)
    return build(nodes["data"], "data")


def place(base: Restored, asked: Asked, how: How, device: torch.device) -> str:
    """Return the name of the images in the cache: a digest of all that decides them."""
    told: dict[str, Any] = {
        "format": FORMAT,
        "weights": digest(base.path),
        "below": dict(base.base),
        "how": repr(how),
        "n": asked.n,
        "texts": asked.text,
        "labels": None if asked.label is None else asked.label.tolist(),
        "device": device.type,
    }
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:32]


def images_of(base: Restored, asked: Asked, how: How, device: torch.device, folder: str, what: str) -> Tensor:
    """Return what the model makes, uint8 (n, C, H, W): from the cache, or made and written there, all or
    none, by one process while the others wait.
    """

    def make() -> dict[str, Tensor]:
        say(f"making {asked.n:,} {what} by {base.path}")
        model = base.model.to(device)
        with counting(f"making {what}") as progress:
            images = generate(
                model, how.sampler, torch.arange(asked.n), asked, how.guidance, how.clip, how.seed,
                how.batch_size, device, lambda done: progress(done, asked.n),
            )  # fmt: skip
        return {"images": images}

    images = cached(folder, place(base, asked, how, device), make).get("images")
    shape = (asked.n, *base.model.shape)
    if images is None or images.dtype != torch.uint8 or tuple(images.shape) != shape:
        raise DataError(f"these are no {asked.n:,} images of {shape[1:]}", folder, "empty this folder")
    return images


def is_made(base: Restored, asked: Asked, how: How, device: torch.device, folder: str) -> bool:
    """Return whether the images lie in the cache."""
    return (Path(folder).expanduser() / f"{place(base, asked, how, device)}.safetensors").is_file()


def check_same(base: Restored, model: Any, where: str, do: str) -> None:
    """Raise ConfigError where a model makes other images than its base, or is told other things."""
    ours, theirs = (tuple(m.shape) for m in (model, base.model))
    if ours != theirs:
        raise ConfigError(f"the images are of {ours}, and those of init={base.path} of {theirs}", where, do)
    told, there = (sorted(m.conditioning.asks) for m in (model, base.model))
    if told != there:
        names = [" and ".join(asks) or "nothing" for asks in (told, there)]
        what = f"the model is told {names[0]}, and init={base.path} {names[1]}"
        raise ConfigError(what, where, do)
