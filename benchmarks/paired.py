"""How much of FID's noise drops out of a difference, and does the jackknife know how much is left?

    python benchmarks/paired.py RUN --noises 9

Draws 1,000 images of a run on digits from each of several noises, by DDIM with several steps and η. For
each pair of samplers it prints the mean difference of FID over the noises, its standard deviation where both
have the same noise and where they have not, and the standard error that the jackknife gives from a single
noise (the root mean square of all).
"""

import argparse
import itertools

import torch
from torch import Tensor

import diffexp
from diffexp.data import Batch, Digits
from diffexp.metrics import FID, SmallClassifier
from diffexp.metrics.fid import jackknife
from diffexp.samplers import DDIM

PAIRS = (10, 0), (15, 0), (20, 0), (25, 0), (10, 0.5), (10, 1)
SAMPLERS = [DDIM(steps=steps, eta=eta) for steps, eta in PAIRS]


def evaluated(images: Tensor, fid: FID, extractor: SmallClassifier) -> tuple[float, Tensor]:
    """Return the FID of images, and it without each part."""
    fid.reset()
    fid.update(Batch(images, None, None, torch.arange(len(images))), extractor(images))
    [value], [without] = fid.compute().values(), fid.evidence().values()
    return value, without


def main() -> None:
    parser = argparse.ArgumentParser(description="Differences of FID over several noises.")
    parser.add_argument("run")
    parser.add_argument("--noises", type=int, default=9)
    parser.add_argument("--n", type=int, default=1000)
    args = parser.parse_args()
    model, extractor, fid = diffexp.load(args.run), SmallClassifier("digits"), FID()
    fid.prepare(Digits(), extractor, args.n)
    classes = list(range(len(model.class_names or ())))
    values, without = torch.zeros(args.noises, len(SAMPLERS)).double(), dict[tuple[int, int], Tensor]()
    for noise, (k, sampler) in itertools.product(range(args.noises), enumerate(SAMPLERS)):
        images = diffexp.sample(model, args.n, sampler, classes=classes, seed=noise)
        values[noise, k], without[noise, k] = evaluated(images, fid, extractor)
    print("| DDIM | DDIM | difference | same noise | other noise | jackknife |\n|---|---|---|---|---|---|")
    for a, b in itertools.combinations(range(len(SAMPLERS)), 2):
        difference = values[:, a] - values[:, b]
        apart = (values[:, a].var() + values[:, b].var()).sqrt()
        errors = [jackknife((without[i, a] - without[i, b]).tolist()) for i in range(args.noises)]
        error = torch.tensor(errors).square().mean().sqrt()
        names = [f"{SAMPLERS[i].steps} steps, η = {SAMPLERS[i].eta:g}" for i in (a, b)]
        numbers = [f"{difference.mean():+.3f}", *(f"{x:.3f}" for x in (difference.std(), apart, error))]
        print("|", " | ".join([*names, *numbers]), "|")


if __name__ == "__main__":
    main()
