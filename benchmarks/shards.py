"""A million small pictures in tar shards beside the same in a folder: start-up, throughput, memory, order.

    python benchmarks/shards.py --folder /scratch/shards

Pictures are JPEGs of --side pixels, each beside its caption and class. A million files are slow to make, so
the folder has those of the first two shards alone, and these are what it is compared with. Both are read as
training does, in the order of training, one process, batches of 256. Both take turns in nine rounds, and take
turns at being the first; shown are the medians of the rates and of the ratio. Their time is that of the
processor, for others may share it; the files are in the memory of the system by then. Memory is that of the
process alone (anonymous), after a twentieth of the epoch of all shards and at its end.
"""

import argparse
import gc
import io
import json
import tarfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from PIL import Image

from diffexp.data import Folder, Shards
from diffexp.data.order import TrainOrder, permutation
from diffexp.data.permutation import permuted

BATCH, EACH, ROUNDS = 256, 10_000, 9


def pictures(side: int) -> list[bytes]:
    """Return 512 different JPEGs."""
    made = []
    for seed in range(512):
        noise = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), np.uint8)
        out = io.BytesIO()
        Image.fromarray(noise).resize((side, side), Image.Resampling.BICUBIC).save(out, "JPEG")
        made.append(out.getvalue())
    return made


def write(folder: Path, count: int, side: int) -> None:
    """Write shards of 10,000 samples each, and the folder, where they are not there."""
    some = pictures(side)
    (folder / "shards").mkdir(parents=True, exist_ok=True)
    (folder / "folder").mkdir(exist_ok=True)
    for start in range(0, count, EACH):
        path = folder / "shards" / f"{start // EACH:06}.tar"
        if path.exists():
            continue
        with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as archive:
            for number in range(start, min(start + EACH, count)):
                parts = {
                    "jpg": some[number % 512],
                    "txt": b"picture %d" % number,
                    "cls": b"%d" % (number % 10),
                }
                for end, content in parts.items():
                    info = tarfile.TarInfo(f"{number:08}.{end}")
                    info.size = len(content)
                    archive.addfile(info, io.BytesIO(content))
    rows = list[str]()
    for number in range(2 * EACH):
        path = folder / "folder" / f"{number:08}.jpg"
        if not path.exists():
            path.write_bytes(some[number % 512])
        row = {"file_name": path.name, "text": f"picture {number}", "label": number % 10}
        rows.append(json.dumps(row))
    (folder / "folder" / "metadata.jsonl").write_text("\n".join(rows))


def own_memory() -> float:
    """Return the anonymous memory of this process, in MB."""
    gc.collect()
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("RssAnon")) / 1024


def rate(images: Any, batches: int, first: int) -> float:
    """Return the images a second of some batches of training."""
    order = TrainOrder(len(images), BATCH)
    start = time.process_time()
    for number in range(first, first + batches):
        images.batch(order.batch(number)[1])
    return batches * BATCH / (time.process_time() - start)


def compare(shards: Any, folder: Any) -> None:
    """Show how fast both are read."""
    rounds = list[tuple[float, float]]()
    for number in range(-1, ROUNDS):
        both = [shards, folder][:: 1 if number % 2 else -1]
        rates = [rate(images, 20, 20 * number % 60) for images in both][:: 1 if number % 2 else -1]
        if number >= 0:  # the first one warms up
            rounds.append((rates[0], rates[1]))
    one, other = (median(r) for r in zip(*rounds, strict=True))
    ratio = median(a / b for a, b in rounds)
    print(f"shards: {one:,.0f} images a second; folder: {other:,.0f}; ratio {ratio:.3f}")


def epoch_memory(images: Any) -> tuple[float, float]:
    """Return the memory after a twentieth of an epoch, and at its end."""
    order, early = TrainOrder(len(images), BATCH), 0.0
    for number in range(len(order)):
        images.batch(order.batch(number)[1])
        if number == len(order) // 20:
            early = own_memory()
    return early, own_memory()


def orders() -> None:
    """Show how fast numbers of an order are made, in blocks of a million and of a batch."""
    block, count = torch.arange(1_000_000), 100_000_000
    start = time.perf_counter()
    permuted(0, "order", 0, count=count, place=block)
    print(f"order of 10^8, a million numbers: {1e6 / (time.perf_counter() - start):,.0f} a second")
    order = TrainOrder(count, BATCH)
    start = time.perf_counter()
    for number in range(200):
        order.batch(number)
    print(f"order of 10^8, a batch of {BATCH}: {(time.perf_counter() - start) / 200 * 1e6:,.0f} microseconds")
    before, start = own_memory(), time.perf_counter()
    permutation(0, 0, 1_000_000)
    seconds = time.perf_counter() - start
    print(f"sorted order of 10^6: {seconds:.2f} s, {own_memory() - before:.0f} MB that stay")


def main() -> None:
    """Write what is missing, and measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--side", type=int, default=32)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    write(asked.folder, asked.count, asked.side)
    options = {"size": 32, "stream": True}
    cache = str(asked.folder / "index")
    for name in ("making the index and starting", "starting with the index"):
        start = time.perf_counter()
        data = Shards(str(asked.folder / "shards"), cache=cache, **options)
        data.check()
        print(f"{name}: {time.perf_counter() - start:.1f} s")
    shards = data.split("train")
    folder = Folder(str(asked.folder / "folder"), label="label", **options).split("train")
    some = Shards(str(asked.folder / "shards"), files="00000[01].tar", cache=cache, **options).split("train")
    compare(some, folder)
    orders()
    early, late = epoch_memory(shards)
    print(
        f"memory in an epoch of {len(shards):,} images: {early:.0f} MB, then {late:.0f} MB "
        f"({late / early - 1:+.2%})"
    )


if __name__ == "__main__":
    main()
