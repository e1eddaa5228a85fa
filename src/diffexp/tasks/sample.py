"""task=sample: images from a checkpoint, as one grid, single files, or an array."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from diffexp.condition import Asked
from diffexp.config.build import build
from diffexp.diffusion.resolution import shift_between
from diffexp.errors import ConfigError
from diffexp.files import create, make_folder, replacing, write
from diffexp.model.ask import ask
from diffexp.model.restore import Restored
from diffexp.model.sizes import of_picture, of_size
from diffexp.notice import warn
from diffexp.pictures import grid, save
from diffexp.progress import counting
from diffexp.run.console import say
from diffexp.run.folder import Record
from diffexp.run.job import Job, Task, device_of
from diffexp.run.ready import ready
from diffexp.samplers import check, generate, nfe
from diffexp.tasks.prompts import prompts
from diffexp.training.tracker import Artifact

MOST_TEXT = 1 << 28  # bytes of the captions in samples.npz


@dataclass(frozen=True)
class Sample(Task):
    """ckpt: a checkpoint or a run folder; n: images; classes: their numbers, in turn, None for all; prompts:
    captions, in turn, or a file.txt with one a line; negative: what guidance goes away from. text: as prompts
    were called.

    files: each as <number>_seed<seed>.png, its class and its prompt in metadata.jsonl; npz: all in
    samples.npz, `images` uint8 (N, H, W, C), `labels`, `captions`. ema: the averaged weights.
    adapters: runs or files, whose adapters are added; adapter_scales: to what share each, 1 where none is
    given. size: of the images, one number or (height, width), where not that of the training; picture:
    (height, width, top, left) that a model of conditioning=with_size is told.
    """

    ckpt: str | None = None
    n: int = 64
    classes: tuple[int, ...] | None = None
    prompts: tuple[str, ...] | str | None = None
    text: tuple[str, ...] | None = None
    negative: str | None = None
    files: bool = True
    npz: bool = False
    ema: bool | float = True
    adapters: tuple[str, ...] | None = None
    adapter_scales: tuple[float, ...] | None = None
    size: int | tuple[int, int] | None = None
    picture: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ConfigError(f"n={self.n}", "task.n", "give 1 or more")
        if self.prompts and self.text:
            raise ConfigError("task.prompts and task.text are the same", "task.text", "leave task.text away")

    def check(self, job: Job) -> None:
        device_of(job)
        self.prepared(job)

    def prepared(self, job: Job, measure: bool = False) -> tuple[Restored, dict[str, Any], Asked]:
        """Return the model, the parts that it samples with, and what is asked."""
        restored, nodes = ready(job, self.ckpt, self.ema, measure, self.adapters, self.adapter_scales)
        parts = nodes | {key: build(nodes[key], key, job.allowed) for key in ("sampler", "guidance", "clip")}
        if self.size is not None:
            resized = of_size(restored.model, self.size, "task.size")
            buckets = (restored.config.get("data") or {}).get("buckets")
            if measure and resized is not restored.model and not buckets:
                now, before = ("x".join(map(str, m.shape[1:])) for m in (resized, restored.model))
                say(f"images of {now} by a model of {before}: the further from that, the worse they are")
            if getattr(parts["sampler"], "shift", None) == "auto":
                shift = shift_between(resized.shape, restored.model.shape)
                parts["sampler"] = replace(parts["sampler"], shift=shift)
            restored = replace(restored, model=resized)
        restored = replace(restored, model=of_picture(restored.model, self.picture, "task.picture"))
        check(restored.model, parts["sampler"], parts["guidance"])
        asked = ask(restored.model, self.n, self.classes, prompts(self.prompts) or self.text, self.negative)
        return restored, parts, asked

    def network_calls(self, job: Job) -> int:
        restored, parts, _ = self.prepared(job)
        return self.n * nfe(parts["sampler"], parts["guidance"], restored.model)

    def run(self, job: Job, record: Record) -> None:
        restored, parts, asked = self.prepared(job, measure=True)
        for line in restored.model.remarks(asked):
            say(line)
        if self.negative and parts["guidance"].scale == 1:
            say("task.negative does nothing at guidance.scale=1: type guidance.scale=2, say")
        given = len(prompts(self.prompts) or ())
        if given > self.n:
            say(f"the first {self.n} of {given:,} prompts (task.n={self.n})")
        images, seed = draw(job, restored, parts, asked), job.config["seed"]
        folder = job.folder / "samples"
        make_folder(folder)
        picture = _grid(images[:400], asked, restored.class_names, folder / "grid.png")
        if self.files:
            _files(images, seed, folder, asked, restored.class_names)
        if self.npz:
            _array(images, asked, folder / "samples.npz")
        record.results |= {"picture": str(picture), "n": self.n, "sampler": repr(parts["sampler"])}
        more = f" with adapters of {', '.join(self.adapters)}" if self.adapters else ""
        say(f"{self.n} images of step {restored.step}{more} by {parts['sampler']}: {picture}")

    def artifact(self, job: Job, results: Mapping[str, Any]) -> Artifact:
        """Return what a tracker keeps of it."""
        files = {path.name: path for path in sorted((job.folder / "samples").iterdir()) if path.is_file()}
        about = {key: results[key] for key in ("n", "sampler")} | {"seed": job.config["seed"]}
        return Artifact("samples", "dataset", files, (), about)


def draw(job: Job, restored: Restored, parts: Mapping[str, Any], asked: Asked) -> Tensor:
    """Return the images that are asked for, from the noise of the job's seed by their numbers: uint8
    (N, C, H, W) on the CPU.
    """
    device, n = device_of(job), len(asked)
    restored.model.to(device)
    with counting("sampling") as progress:
        return generate(
            restored.model,
            parts["sampler"],
            torch.arange(n),
            asked,
            parts["guidance"],
            parts["clip"],
            job.config["seed"],
            job.config["evaluator"]["batch_size"],
            device,
            lambda done: progress(done, n),
        )


def words_of(asked: Asked, names: tuple[str, ...] | None) -> list[str]:
    """Return the prompt of each image, else the name of its class; [] where neither is asked for."""
    if asked.text is not None:
        return list(asked.text)
    if asked.label is None:
        return []
    return [names[i] if names else str(i) for i in asked.label.tolist()]


def _grid(images: Tensor, asked: Asked, names: tuple[str, ...] | None, path: Path) -> Path:
    """Draw the images, those of one prompt or else of one class side by side, beside its words."""
    n, words = len(images), words_of(asked, names)[: len(images)]
    if asked.text is not None:
        first = {word: i for i, word in reversed([*enumerate(words)])}
        order = sorted(range(n), key=lambda i: first[words[i]])
    elif asked.label is not None:
        order = torch.argsort(asked.label[:n], stable=True).tolist()
    else:
        save(grid(images), path)
        return path
    save(grid(images[order], [words[i] for i in order]), path)
    return path


def _array(images: Tensor, asked: Asked, path: Path) -> None:
    arrays: dict[str, Any] = {"images": images.permute(0, 2, 3, 1).numpy()}
    if asked.label is not None:
        arrays["labels"] = asked.label.numpy()
    if asked.text is not None:  # numpy gives each as much room as the longest takes
        if 4 * len(asked.text) * max(map(len, asked.text)) > MOST_TEXT:
            warn("the captions are too long for samples.npz, and are in metadata.jsonl alone")
        else:
            arrays["captions"] = np.array(asked.text)
    with replacing(path) as part, create(part) as file:
        np.savez_compressed(file, **arrays)  # pyright: ignore[reportArgumentType]


def _files(images: Tensor, seed: int, folder: Path, asked: Asked, names: tuple[str, ...] | None) -> None:
    """Write a PNG of each, and metadata.jsonl with the classes, so that the folder is a data set."""
    lines = []
    for i, image in enumerate(images.permute(0, 2, 3, 1).numpy()):
        row = {"file_name": f"{i:05d}_seed{seed}.png"}
        if asked.label is not None:
            row["label"] = names[asked.label[i]] if names else str(int(asked.label[i]))
        if asked.text is not None:
            row["text"] = asked.text[i]
        lines.append(json.dumps(row, ensure_ascii=False) + "\n")
        picture = Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image)
        save(picture, folder / row["file_name"])
    write(folder / "metadata.jsonl", "".join(lines))
