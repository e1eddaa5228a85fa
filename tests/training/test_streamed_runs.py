"""Runs on shards and in buckets: two real ranks, and a run that is killed, do what one whole run does."""

import json
import os
import subprocess
import sys
from collections import Counter

import pytest
import torch
from commands import CONF, QUICK
from forked import forked
from PIL import Image
from tars import shards

SHAPES = [(16, 16), (12, 24), (24, 12)]  # (width, height)
SEEN = "+callbacks.seen={_target_: plugins.seen.Seen, folder: .}"
TYPED = [
    *(a for a in QUICK if not a.startswith(("metrics.", "trainer."))), "metrics=none", "conditioning=none",
    "guidance.scale=1", "data.size=16", "data.label=none", "data.stream=true", "data.val=0.1",
    "data.test=0.1", "loader.batch_size=6", "loader.flip=true", "trainer=ddp", "trainer.accelerator=cpu",
    "trainer.max_steps=15", "trainer.log_every_n_steps=1", "callbacks.checkpoint.every=4",
    "optimizer.lr=1e-2", "+optimizer.eps=0.1", "precision=fp32", "network.attention=[]", "dir=run",
]  # fmt: skip


def typed_for(kind, folder):
    """The command line of 30 pictures in shards, of which 24 are for training, or of 31 in buckets."""
    if kind == "shards":
        shards(folder / "data", 30)
        return [*TYPED, "data=shards", "data.path=data", "data.text=none", "data.cache=cache"]
    (folder / "data").mkdir()
    for i in range(31):
        noise = torch.randint(256, SHAPES[i % 3][::-1], generator=torch.Generator().manual_seed(i))
        Image.fromarray(noise.byte().numpy()).save(folder / "data" / f"{i:02}.png")
    sizes = ["data.buckets.step=4", "data.buckets.least=8", "data.buckets.most=32"]
    return [*TYPED, "data=buckets", "data.path=data", "data.mode=L", *sizes]


def trained(folder):
    state = torch.load(folder / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    return {**state["trained"], **{f"ema {k}": v for k, v in state["ema"][0].items()}}


def losses(folder):
    lines = map(json.loads, (folder / "run" / "metrics.jsonl").read_text().splitlines())
    return [line["train/loss"] for line in lines if "train/loss" in line]


def seen(folder, rank):
    return list(map(json.loads, (folder / f"seen-{rank}.jsonl").read_text().splitlines()))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["shards", "buckets"])
def test_two_ranks_and_a_run_that_is_killed_do_what_one_rank_does(kind, tmp_path):
    """The images of each step, each once an epoch, the losses, and the weights in the end."""
    folders = {name: tmp_path / name for name in ("one", "two", "killed")}
    for folder in folders.values():
        folder.mkdir()
    line = {name: typed_for(kind, folder) for name, folder in folders.items()}
    more = ["plugins=[plugins]", "trainer.devices=1"]
    code, said = forked([*line["one"], *more, SEEN], folders["one"], tmp_path / "said", 300)
    assert code == 0, said
    whole = trained(folders["one"])
    assert len(losses(folders["one"])) == 15

    kill = "+callbacks.kill={_target_: plugins.killed.Killed, at: 10}"
    code, said = forked([*line["killed"], *more, kill], folders["killed"], tmp_path / "said", 300)
    assert code == -9, said
    code, said = forked([*line["killed"], *more], folders["killed"], tmp_path / "said", 300)
    assert code == 0 and "going on from step 8" in said, said
    again = trained(folders["killed"])
    assert again.keys() == whole.keys() and all(torch.equal(again[k], whole[k]) for k in whole)
    assert losses(folders["killed"]) == losses(folders["one"])

    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(CONF.parent / "src"), str(CONF.parent / "tests")])}
    command = [sys.executable, str(CONF.parent / "run.py"), *line["two"], "plugins=[plugins]", SEEN]
    command.append("trainer.devices=2")
    done = subprocess.run(command, cwd=folders["two"], env=env, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    check_shares(seen(folders["one"], 0), [seen(folders["two"], rank) for rank in (0, 1)], kind)
    both = trained(folders["two"])
    assert max(float((both[k].float() - whole[k].float()).abs().max()) for k in whole) < 2e-5
    assert losses(folders["two"]) == pytest.approx(losses(folders["one"]), rel=1e-4)


def check_shares(alone, ranks, kind):
    """Both ranks together have the images of one; those that only fill a batch up weigh nothing."""
    for (step, index, _), *shares in zip(alone, *ranks, strict=True):
        together = [(i, w) for _, images, weights in shares for i, w in zip(images, weights, strict=True)]
        assert [s for s, *_ in shares] == [step] * 2 and len(shares[0][1]) == len(shares[1][1])
        assert [i for i, w in together if w > 0] == index
    epoch = 4 if kind == "shards" else next(n for n in range(1, 15) if len(alone) == 15 and _whole(alone[:n]))
    for start in (0, epoch):
        count = Counter(i for _, index, _ in alone[start : start + epoch] for i in index)
        assert sorted(count) == list(range(len(count))) and set(count.values()) == {1}
        assert len(count) == (24 if kind == "shards" else 25)


def _whole(batches):
    return sum(len(index) for _, index, _ in batches) == 25
