"""Small runs on the real digits by Lightning's trainer, without Hydra: what tests of training share."""

import json

import torch
from lightning import Callback, Trainer

from diffexp.data import DataModule, Digits
from diffexp.diffusion import Chain, ClassLabel, FixedSmall, Objective, Pixels, Uniform, V, cosine
from diffexp.networks import UNet
from diffexp.training import EMA, AtomicCheckpointIO, DiffusionModule, Jsonl, LearningRate
from diffexp.training.quiet import quiet

STEPS = 30  # with 32 images in 2 micro-batches: 44 batches an epoch, so the end lies in the second


def module(seed=0, **options):
    """A network with dropout, so that its randomness is tested too."""

    def network(**fixed):
        torch.manual_seed(seed)
        return UNet(**fixed, channels=8, channel_mult=(1, 2), blocks=1, attention=(4,), groups=2, dropout=0.1)

    def optimizer(parameters):
        return torch.optim.AdamW(parameters, lr=2e-3)

    parts = {
        "network": network,
        "schedule": cosine(),
        "prediction": V(),
        "variance": FixedSmall(),
        "objective": Objective(Uniform(), Chain()),
        "conditioning": ClassLabel(0.2),
        "codec": Pixels(),
        "optimizer": optimizer,
        "lr": LearningRate(steps=STEPS, warmup=5, shape="cosine"),
        "ema": EMA((0.5, 0.99)),
        "seed": seed,
    }
    return DiffusionModule((1, 8, 8), tuple("0123456789"), **parts | options)


def loader(seed=0, batch_size=32):
    return DataModule(Digits(), batch_size=batch_size, eval_batch_size=64, flip=True, seed=seed)


def trainer(folder, steps=STEPS, callbacks=(), accumulate=2, every=10, **options):
    quiet()
    folder.mkdir(exist_ok=True)
    fixed = {
        "accelerator": "cpu",
        "max_steps": steps,
        "accumulate_grad_batches": accumulate,
        "log_every_n_steps": every,
        "logger": [Jsonl(folder / "metrics.jsonl")],
        "callbacks": list(callbacks),
        "plugins": [AtomicCheckpointIO()],
        "default_root_dir": folder,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "use_distributed_sampler": False,
        "num_sanity_val_steps": 0,
    }
    return Trainer(**fixed | options)


def fit(folder, made=None, data=None, ckpt_path=None, **options):
    """The module, trained. What `quiet` does not silence fails the test: pytest makes warnings errors."""
    made, data = made or module(), data or loader()
    trainer(folder, **options).fit(made, data, ckpt_path=ckpt_path)
    return made


class Stop(Exception):
    """A failure in the middle of an epoch."""


class StopAt(Callback):
    """Raises after a step; listed after a Checkpoint, once that has written."""

    def __init__(self, step):
        self.step = step

    def on_train_batch_end(self, trainer, *args):
        if trainer.global_step == self.step:
            raise Stop


def equal(a, b):
    """Whether two trees of dicts, lists, tensors and values are equal bit for bit."""
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(equal(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(equal, a, b))
    return a == b


def lines(folder, key="train/loss"):
    """What metrics.jsonl tells of `key`, as whole lines."""
    told = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [line for line in told if key in line]
