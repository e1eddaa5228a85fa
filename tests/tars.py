"""Tar shards, and the pictures in them, made for a test."""

import io
import json
import tarfile
from pathlib import Path

import torch
from PIL import Image


def png(number, side=8):
    """The bytes of a PNG, another for each number."""
    pixels = torch.randint(256, (side, side, 3), generator=torch.Generator().manual_seed(number))
    out = io.BytesIO()
    Image.fromarray(pixels.to(torch.uint8).numpy()).save(out, "PNG")
    return out.getvalue()


def tar(path, members):
    """Write a tar of (name, bytes, text, or an object for JSON)."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in members:
            if not isinstance(content, bytes):
                content = (content if isinstance(content, str) else json.dumps(content)).encode()
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def sample(number, classes=3):
    """The members of a sample: picture, caption, class, and the same in JSON."""
    key, of_class = f"{number:05}", number % classes
    row = {"caption": [f"number {number}", f"the {number}th"], "score": 0.5, "kind": f"kind {of_class}"}
    return [
        (f"{key}.png", png(number)),
        (f"{key}.txt", f"picture {number}"),
        (f"{key}.cls", str(of_class)),
        (f"{key}.json", row),
    ]


def shards(folder, count=30, each=8):
    """Write shards of `each` samples."""
    for start in range(0, count, each):
        numbers = range(start, min(start + each, count))
        tar(folder / f"{start // each:06}.tar", [part for n in numbers for part in sample(n)])
    return folder
