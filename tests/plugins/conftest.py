"""Runs of the plug-ins beside this file, by the command line, each made once."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from forked import forked
from safetensors.torch import save_file

HERE = Path(__file__).parent
BASIC = ["-cd", str(HERE / "conf"), "plugins=[plugins]", "logger=none"]
QUICK = [
    "data=halves", "metrics=halves", "metrics.n=16", "evaluator.pictures=8", "evaluator.every=0",
    "evaluator.scales=[]", "trainer.max_steps=4", "trainer.log_every_n_steps=1", "loader.batch_size=8",
    "callbacks.checkpoint.every=2", "sampler.steps=3", "ema.decays=[0.9,0.1]",
]  # fmt: skip
PLAIN = ["guidance=cfg", "sampler=ddim", "sampler.steps=3"]
SMALL = ["network=dit", "network.patch=1"]
RECIPES = {
    "flow": ["schedule=straight", "prediction=straight", "network=dit"],
    "dit": ["network=dit", "data.width=12"],
    "latent": ["codec=halved", "codec.file=HERE/codec.safetensors", "codec.std=0.1", *SMALL],
    "words": ["conditioning=words", "network=reader"],
    "encoder": ["conditioning=encoder", "conditioning.file=HERE/table.safetensors", "network=reader"],
    "lora": ["network=lora", "network.base=HERE/dit/run", "data.width=12"],
    "guidance": ["network=dit", "guidance=perpendicular", "guidance.scale=2"],
}  # fmt: skip


class Runs:
    """Command lines in one folder."""

    def __init__(self, folder):
        self.folder, self._done = folder, set()
        draw = torch.Generator().manual_seed(7)  # another one than of a run
        save_file({"weight": torch.randn(256, 16, generator=draw)}, folder / "table.safetensors")
        turned, _ = torch.linalg.qr(torch.randn(4, 4, generator=draw))
        kernels = turned.view(4, 1, 2, 2).contiguous()  # so that `up` undoes `down`
        save_file({"down.weight": kernels, "up.weight": kernels.clone()}, folder / "codec.safetensors")

    def type(self, *typed):
        """(exit code, what was said)"""
        return forked([*BASIC, *typed], self.folder, self.folder / "said")

    def done(self, name, *typed):
        """The folder of a command that ends well, run once."""
        if name not in self._done:
            code, said = self.type(*typed, f"dir={name}")
            assert code == 0, said
            self._done.add(name)
        return self.folder / name

    def trained(self, recipe, name="run", *typed):
        if recipe == "lora":
            self.trained("dit")
        return self.done(f"{recipe}/{name}", *self.recipe(recipe), *typed)

    def recipe(self, name):
        """What is typed for a training."""
        return [text.replace("HERE", str(self.folder)) for text in (*QUICK, *RECIPES[name])]

    def sampled(self, recipe, name, *typed):
        """The images of a run, uint8 (8, H, W, C)."""
        self.trained(recipe)
        more = ["task.text=[a bright left half, a bright top half]"] if recipe in ("words", "encoder") else []
        files = ["task=sample", f"task.ckpt={recipe}/run", "task.n=8", "task.npz=true", "task.files=false"]
        folder = self.done(f"{recipe}/{name}", *files, *more, *typed)
        return np.load(folder / "samples" / "samples.npz")["images"]


@pytest.fixture(scope="session")
def runs(tmp_path_factory):
    return Runs(tmp_path_factory.mktemp("plugins"))


def checkpoint(folder):
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)


def results(folder):
    return json.loads((folder / "run.json").read_text())["results"]


def tensors(node, path=""):
    """The name and the value of each tensor in what a checkpoint holds."""
    if isinstance(node, torch.Tensor):
        yield path, node
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        yield from tensors(value, f"{path}.{key}")
