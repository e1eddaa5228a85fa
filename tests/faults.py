"""Kills a run of digits at chosen moments, goes on with it, and compares its end with that of an unbroken
run.

    make faults ARGS="--rounds 20"

Each round waits for its moment, in a step, in the writing of a checkpoint, in an evaluation, or in a write of
W&B, kills the process with SIGKILL, and types the same command again. The table says at which step each kill
 came and from which one the run went on; the exit code is 0 if the weights, averages, optimizer and the lines
 of
metrics.jsonl are at the end those of the unbroken run.
"""

import argparse
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

RUN = Path(__file__).parents[1] / "run.py"
EPOCH = 22  # steps: 1,437 images in batches of 64
TYPED = [
    "network=unet_tiny", "network.channels=8", "metrics.n=40", "evaluator.pictures=20", "sampler.steps=10",
    "evaluator.scales=[]", "evaluator.every=2", "loader.flip=true", "times=importance", "times.history=2",
    "schedule.T=50", "callbacks.checkpoint.every=10", "trainer.log_every_n_steps=1", "dir=run",
]  # fmt: skip
MOMENTS = ("step", "save", "evaluation", "tracker")


def last_step(folder: Path) -> int:
    """Of metrics.jsonl, 0 where there is none."""
    try:
        lines = (folder / "metrics.jsonl").read_text().splitlines()
        return max((json.loads(line).get("step") or 0) for line in lines if line.endswith("}"))
    except (OSError, ValueError):
        return 0


def size(folder: Path) -> int:
    """Of what W&B has written."""
    return sum(f.stat().st_size for f in (folder / "wandb").rglob("*.wandb"))


def reached(moment: str, folder: Path, draw: random.Random) -> Callable[[], bool]:
    """Whether the moment has come, asked again and again."""
    start, before = last_step(folder), size(folder)
    away = start + draw.randrange(15, 60)
    if moment == "step":
        return lambda: last_step(folder) >= away
    if moment == "save":
        there = folder / "checkpoints"
        return lambda: last_step(folder) >= start + 12 and any(there.glob(".last.ckpt.*.part"))
    if moment == "evaluation":  # at the end of every other epoch; then nothing is logged for a while
        return lambda: last_step(folder) > start + 12 and last_step(folder) % (2 * EPOCH) == 0
    return lambda: last_step(folder) >= start + 12 and size(folder) > before + 2000


def launch(folder: Path, steps: int) -> subprocess.Popen[str]:
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-u", str(RUN), *TYPED, f"trainer.max_steps={steps}"]
    return subprocess.Popen(
        command, cwd=folder.parent, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def killed(folder: Path, steps: int, moment: str, draw: random.Random) -> tuple[int, bool]:
    """The step at which it was killed, and whether it was, before it ended."""
    process, come = launch(folder, steps), reached(moment, folder, draw)
    while process.poll() is None and not come():
        time.sleep(0.0005)
    if moment == "evaluation":
        time.sleep(draw.random() * 0.1)
    was = process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return last_step(folder), was


def digest(folder: Path) -> str:
    """Of weights, averages, optimizer and what was logged."""
    checkpoint = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    hashed = hashlib.sha256()
    for state in (checkpoint["trained"], *checkpoint["ema"], checkpoint["objective"]):
        for name in sorted(state):
            hashed.update(state[name].contiguous().numpy().tobytes())
    for state in checkpoint["optimizer_states"][0]["state"].values():
        for value in state.values():
            hashed.update(torch.as_tensor(value).numpy().tobytes())
    for line in (folder / "metrics.jsonl").read_text().splitlines():
        told = json.loads(line)
        if "final/" not in line:
            kept = {k: v for k, v in told.items() if k not in ("seconds", "train/images_per_s")}
            hashed.update(json.dumps(kept, sort_keys=True).encode())
    return hashed.hexdigest()[:16]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    steps, draw = 80 * args.rounds + 40, random.Random(args.seed)
    with tempfile.TemporaryDirectory() as there:
        whole, run = Path(there, "whole", "run"), Path(there, "killed", "run")
        whole.parent.mkdir()
        run.parent.mkdir()
        out, _ = launch(whole, steps).communicate()
        want = digest(whole)
        print(f"unbroken: {steps} steps, {want}\n")
        print("| round | killed in | at step | went on from |\n|---|---|---|---|")
        kills = 0
        for number in range(1, args.rounds + 1):
            moment = MOMENTS[number % len(MOMENTS)]
            at, was = killed(run, steps, moment, draw)
            kills += was
            note = json.loads((run / "checkpoints" / "last.ckpt.json").read_text())
            print(
                f"| {number} | {moment if was else 'nothing: it had ended'} | {at} | {note['step']} |",
                flush=True,
            )
        process = launch(run, steps)
        out, _ = process.communicate()
        got = digest(run)
        equal = process.returncode == 0 and got == want
        print(f"\nkilled {kills} of {args.rounds} times: {got}, {'equal' if equal else 'NOT equal'}")
        if not equal:
            print(out)
        return 0 if equal and kills else 1


if __name__ == "__main__":
    sys.exit(main())
