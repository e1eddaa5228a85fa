"""Train and write the shipped classifiers (metrics/classifier.py):

    python -m diffexp.metrics.train_classifier digits|mnist|fashion_mnist --root FOLDER

Adam, a learning rate that rises and falls once, a fixed order of the images: the same machine writes the same
file. Prints the share of the test split that the file, as written, recognises.
"""

import argparse
import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from diffexp.data.dataset import DataSet
from diffexp.data.digits import Digits
from diffexp.data.mnist import MNIST, FashionMNIST
from diffexp.metrics.classifier import SHIPPED, SmallClassifier, network
from diffexp.randomness import generator

RATE, BATCH = 3e-3, 64


def train(data: DataSet, epochs: int, file: Path, seed: int = 0) -> float:
    """Write a classifier of `data`'s train split to `file`; return its accuracy on the test split."""
    images, labels = _tensors(data, "train")
    classes = len(data.classes or ())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        body, head = network(classes)
    net = torch.nn.Sequential(body, head)
    optimizer = torch.optim.Adam(net.parameters(), RATE)
    steps = epochs * -(-len(images) // BATCH)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps)
    for epoch in range(epochs):
        order = torch.randperm(len(images), generator=generator(seed, "classifier", epoch))
        for index in order.split(BATCH):
            loss = F.cross_entropy(
                net(images[index].float() / 127.5 - 1), labels[index], label_smoothing=0.05
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            rate.step()
    about = {"data": data.name, "shape": data.shape, "classes": classes, "epochs": epochs}
    parts = {"body": body, "head": head}
    state = {
        f"{part}.{key}": value.half() for part, m in parts.items() for key, value in m.state_dict().items()
    }
    save_file(state, file, {"about": json.dumps(about)})
    return accuracy(SmallClassifier(str(file)), data)


@torch.inference_mode()
def accuracy(classifier: SmallClassifier, data: DataSet) -> float:
    """Return the share of the test split that is recognised."""
    images, labels = _tensors(data, "test")
    right = [classifier.predict(x) == y for x, y in zip(images.split(1000), labels.split(1000), strict=True)]
    return float(torch.cat(right).float().mean())


def _tensors(data: DataSet, split: str) -> tuple[torch.Tensor, torch.Tensor]:
    part = data.split(split)  # pyright: ignore[reportArgumentType]
    batch = part.batch(torch.arange(len(part)))
    assert batch.label is not None
    return batch.image, batch.label


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Train a classifier of small grey images, for metrics.")
    parser.add_argument("name", choices=["digits", "mnist", "fashion_mnist"])
    parser.add_argument("--root", default="data", help="folder of MNIST/ and FashionMNIST/")
    parser.add_argument("--epochs", type=int, default=None, help="default: 60 for digits, 5 for the others")
    parser.add_argument("--out", type=Path, default=SHIPPED, help="folder of the weights file")
    args = parser.parse_args()
    sets = {
        "digits": Digits,
        "mnist": lambda: MNIST(args.root),
        "fashion_mnist": lambda: FashionMNIST(args.root),
    }
    epochs = args.epochs or (60 if args.name == "digits" else 5)
    file = args.out / f"{args.name}.safetensors"
    share = train(sets[args.name](), epochs, file)
    print(f"{args.name}: {share:.2%} of the test split recognised, {file} ({file.stat().st_size} bytes)")


if __name__ == "__main__":
    main()
