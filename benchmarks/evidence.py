"""What keeping evidence.npz costs an evaluation of N images, by 64 and by 2,048 features.

    python benchmarks/evidence.py

A row for each: the seconds of one FID, of those without each tenth of the images, of which its standard error
is made as well, and of writing the file; its bytes. The features are random.
"""

import argparse
import tempfile
import time
from pathlib import Path

import torch

from diffexp.comparison import Evidence
from diffexp.comparison.evidence import NAME, save
from diffexp.metrics.fid import jackknife
from diffexp.metrics.statistics import Statistics, frechet_distance


def main() -> None:
    """Print a row for each number of features."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--n", type=int, default=1000)
    n = arguments.parse_args().n
    print("| features | FID, s | without each tenth, s | file, s | file, bytes |\n|---|---|---|---|---|")
    for dim in (64, 2048):
        noise = torch.Generator().manual_seed(0)
        real = _of(torch.randn(2 * n, dim, generator=noise))
        parts = [_of(part) for part in torch.randn(n, dim, generator=noise).chunk(10)]
        whole, start = sum(parts[1:], parts[0]), time.perf_counter()
        frechet_distance(real, whole)
        one, start = time.perf_counter() - start, time.perf_counter()
        without = [frechet_distance(real, whole - part) for part in parts]
        jackknife(without)
        ten, start = time.perf_counter() - start, time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            save(Path(folder), Evidence({"fid/without": torch.tensor(without).numpy()}, {"n": n}))
            size, written = (Path(folder) / NAME).stat().st_size, time.perf_counter() - start
        print(f"| {dim:,} | {one:.3f} | {ten:.3f} | {written:.4f} | {size:,} |")


def _of(features: torch.Tensor) -> Statistics:
    statistics = Statistics(features.shape[1])
    statistics.update(features)
    return statistics


if __name__ == "__main__":
    main()
