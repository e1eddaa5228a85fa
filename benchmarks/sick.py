"""Does task=doctor name what is wrong with runs that are sick on purpose, and nothing of a healthy one?

    python run.py dir=digits
    python benchmarks/sick.py digits --folder sick

Trains what has to be trained, small networks for a few minutes each (a run that is there is taken as it is),
examines each run, and prints a table: the sickness, the first and the second cause that are named, with their
strengths, and whether the right one is among the two. Exits with 1 where one is not, or where a healthy run
has a cause.
"""

import argparse
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from diffexp.data import Digits
from diffexp.files import read_json

ROOT = Path(__file__).resolve().parents[1]
SMALL = ["network.channels=16", "evaluator.every=0", "evaluator.scales=[1]", "metrics.n=200", "logger=none"]
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


@dataclass(frozen=True)
class Sick:
    """cause: what the doctor is to call it, None where nothing is wrong; train: what is typed for its
    training, None for the healthy run, [] for what `prepare` makes of that; ask: for its examination.
    """

    name: str
    cause: str | None
    train: Sequence[str] | None = None
    ask: Sequence[str] = ()
    prepare: Callable[[Path, Path], None] = field(default=lambda folder, healthy: None)


def twenty(folder: Path, healthy: Path) -> None:
    """Write two training images of each class, and the test images."""
    train, test = (Digits().split(name) for name in ("train", "test"))
    assert train.labels is not None
    some = torch.cat([(train.labels == c).nonzero().flatten()[:2] for c in range(10)])
    for name, images, index in (("twenty", train, some), ("test", test, torch.arange(len(test)))):
        batch = images.batch(index)
        assert batch.label is not None
        np.savez(
            folder / "data" / f"{name}.npz", images=batch.image[:, 0].numpy(), labels=batch.label.numpy()
        )


def three(folder: Path, healthy: Path) -> None:
    """Write one image each of three digits, under ten labels, and the test images."""
    twenty(folder, healthy)
    train = Digits().split("train")
    assert train.labels is not None
    some = torch.stack([(train.labels == c).nonzero()[0, 0] for c in range(3)])
    index = some[torch.arange(40) % 10 % 3]
    images, labels = train.batch(index).image[:, 0].numpy(), np.arange(40) % 10
    np.savez(folder / "data" / "three.npz", images=images, labels=labels)


def captions(folder: Path, healthy: Path) -> None:
    """Write the digits with captions, and with the captions of other images."""
    train = Digits().split("train")
    batch = train.batch(torch.arange(len(train)))
    assert batch.label is not None
    texts = np.array([f"a drawing of a {WORDS[c]}" for c in batch.label.tolist()])
    other = texts[np.random.default_rng(0).permutation(len(texts))]
    for name, said in (("captions", texts), ("shuffled", other)):
        np.savez(folder / "data" / f"{name}.npz", images=batch.image[:, 0].numpy(), captions=said)


def autoencoder(folder: Path, healthy: Path) -> None:
    """Train a codec of one channel for a few steps."""
    if not (folder / "data" / "codec" / "checkpoints").is_dir():
        typed = [
            "autoencoder.network.latent_channels=1",
            "trainer.max_steps=150",
            "trainer.val_check_interval=150",
        ]
        job(folder / "data" / "codec", "task=autoencoder", "data=digits", "logger=none", *typed)


def relabelled(folder: Path, healthy: Path) -> None:
    """Write the healthy run's checkpoint with another schedule in its configuration."""
    target = folder / "schedule" / "checkpoints"
    target.mkdir(parents=True, exist_ok=True)
    checkpoint = torch.load(healthy / "checkpoints" / "last.ckpt", weights_only=True)
    linear = {"_target_": "diffexp.diffusion.linear", "T": 1000, "start": 1e-4, "end": 0.02}
    config = checkpoint["diffexp"]["config"]
    config["schedule"] = config["snr"]["schedule"] = config["model"]["schedule"]["schedule"] = linear
    torch.save(checkpoint, target / "last.ckpt")
    for name in ("config.yaml", "overrides.yaml", "metrics.jsonl", "run.json"):
        (folder / "schedule" / name).write_bytes((healthy / name).read_bytes())


TEXT = ["data=npz", "conditioning=text", "network=unet_digits", "metrics=none", "trainer.max_steps=500"]
SICK = {
    "healthy": Sick("none: a healthy run", None),
    "steps": Sick("3 steps", "too few steps of the sampler", ask=["sampler.steps=3"]),
    "guidance": Sick("guidance 12", "too much guidance", ask=["guidance.scale=12"]),
    "schedule": Sick(
        "linear schedule for a network of the cosine schedule",
        "another schedule than that of the training",
        [],
        prepare=relabelled,
    ),
    "eps": Sick(
        "ε-prediction without clipping",
        "no clipping, where little signal magnifies errors",
        ["prediction=eps", "trainer.max_steps=800"],
        ["clip=none"],
    ),
    "dropout": Sick(
        "dropout 0, guidance 5",
        "a condition that was never dropped in training, and guidance",
        ["conditioning.dropout=0", "trainer.max_steps=400"],
        ["guidance.scale=5"],
    ),
    "rate": Sick(
        "learning rate x 300, constant",
        "a learning rate that is too high",
        ["optimizer.lr=0.3", "lr=constant", "lr.warmup=0", "trainer.max_steps=400"],
    ),
    "short": Sick(
        "60 steps of training",
        "a training that is not finished",
        ["trainer.max_steps=60", "ema.decays=[0.9]"],
    ),
    "average": Sick(
        "decay of the average 0.9999, no warm-up",
        "an average of the weights that lags behind",
        ["ema.decays=[0.9999]", "ema.warmup=false", "trainer.max_steps=800"],
    ),
    "twenty": Sick(
        "20 images, 5,000 steps",
        "a training set learnt by heart",
        [
            *("data=npz", "data.path={folder}/data/twenty.npz", "data.test_path={folder}/data/test.npz"),
            *("loader.batch_size=20", "trainer.max_steps=5000"),
        ],
        prepare=twenty,
    ),
    "collapse": Sick(
        "fine-tuning on 3 images",
        "samples that have collapsed",
        [
            *("init={healthy}", "data=npz", "data.path={folder}/data/three.npz"),
            *("data.test_path={folder}/data/test.npz", "loader.batch_size=20", "trainer.max_steps=200"),
            *("optimizer.lr=0.001", "ema.decays=[0.9]"),
        ],
        prepare=three,
    ),
    "codec": Sick(
        "a codec of one channel, 150 steps",
        "a codec that loses too much",
        [
            "codec=autoencoder",
            "codec.ckpt={folder}/data/codec",
            "network=unet_latent",
            "trainer.max_steps=500",
        ],
        prepare=autoencoder,
    ),
    "shuffled": Sick(
        "captions of other images",
        "the caption says nothing of its image",
        ["data.path={folder}/data/shuffled.npz", *TEXT],
        prepare=captions,
    ),
    "captions": Sick(
        "none: the same captions, of their own images",
        None,
        ["data.path={folder}/data/captions.npz", *TEXT],
        prepare=captions,
    ),
}


def job(folder: Path, *typed: str) -> None:
    """Run one job in a process of its own, as a person would type it."""
    subprocess.run([sys.executable, str(ROOT / "run.py"), f"dir={folder}", *typed], check=True)


def run_of(key: str, folder: Path, healthy: Path) -> Path:
    """Return the folder of a run, which is trained where it is not there."""
    sick, run = SICK[key], folder / key
    (folder / "data").mkdir(parents=True, exist_ok=True)
    sick.prepare(folder, healthy)
    if sick.train and not (run / "samples").is_dir():
        small = [text for text in SMALL if "init={healthy}" not in sick.train or "network" not in text]
        job(run, *small, *(text.format(folder=folder, healthy=healthy) for text in sick.train))
    return healthy if sick.train is None else run


def examined(key: str, folder: Path, healthy: Path, n: int) -> tuple[str, bool]:
    """Return the row of a run, and whether it was found out."""
    sick, run, out = SICK[key], run_of(key, folder, healthy), folder / f"doctor_{key}"
    typed = [f"task.ckpt={run}", f"task.n={n}", "resume=never", "logger=none", *sick.ask]
    job(out, "task=doctor", *typed)
    found = read_json(out / "run.json")["results"]["findings"]
    named = [f for f in found if f["strength"] >= 1]
    said = [f"{f['cause']} ({f['strength']:.1f})" for f in named[:2]]
    first, second = (*said, "none", "none")[:2]
    right = any(f["cause"] == sick.cause for f in named[:2]) if sick.cause else not named
    return f"| {sick.name} | {first} | {second} | {'yes' if right else 'NO'} |", right


def main() -> int:
    parser = argparse.ArgumentParser(description="Examine runs that are sick on purpose.")
    parser.add_argument("healthy", type=Path)
    parser.add_argument("--folder", type=Path, default=Path("sick"))
    parser.add_argument("--only", nargs="*", choices=list(SICK), default=list(SICK))
    parser.add_argument("--n", type=int, default=200)
    args = parser.parse_args()
    rows = list[tuple[str, bool]]()
    for key in args.only:
        rows.append(examined(key, args.folder.resolve(), args.healthy.resolve(), args.n))
        print(rows[-1][0], flush=True)
    print("\n| sickness | first | second | right |\n|---|---|---|---|")
    print("\n".join(row for row, _ in rows))
    return int(not all(right for _, right in rows))


if __name__ == "__main__":
    sys.exit(main())
