"""Folders of images with captions, a base that has read them, and runs that learn a word."""

import json

import numpy as np
from adapters.conftest import LINE
from PIL import Image

INKS = ("red", "green", "blue")
KNOWN = [f"a {ink} {digit} on a black ground" for ink in INKS for digit in ("one", "three")]
NEW = [f"a {ink} <thing> on a black ground" for ink in INKS]
TYPED = [
    *LINE, "data=folder", "data.size=8", "data.label=none", "data.val=0.2", "data.test=0.2",
    "conditioning=text", "text_encoder.width=8", "text_encoder.layers=1", "loader.batch_size=4",
    "trainer.max_steps=4", "lr.steps=4", "ema.decays=[0.5]",
]  # fmt: skip


def folder(path, captions, n=12):
    """A folder of n images, whose captions are these in turn."""
    path.mkdir(parents=True, exist_ok=True)
    draw, rows = np.random.default_rng(len(captions)), list[str]()
    for i in range(n):
        Image.fromarray(draw.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(path / f"{i}.png")
        rows.append(json.dumps({"file_name": f"{i}.png", "text": captions[i % len(captions)]}))
    (path / "metadata.jsonl").write_text("\n".join(rows) + "\n")
    return path


def base(runs, *typed):
    known = runs.folder / "known"
    if not known.exists():
        folder(known, KNOWN)
    return runs.trained(*TYPED, f"data.path={known}", "optimizer.lr=0.01", *typed)


def line(runs, *typed, below=None, captions=NEW):
    """What is typed to learn <thing> over a base."""
    new = runs.folder / f"new{len(captions)}{len(captions[0])}"
    if not new.exists():
        folder(new, captions)
    return [
        *TYPED, f"data.path={new}", f"init={below or base(runs)}", "optimizer.lr=0.05", "tune=concept",
        "tune.word='<thing>'", *typed,
    ]  # fmt: skip
