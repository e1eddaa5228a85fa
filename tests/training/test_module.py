"""Training on the real digits: exact repetition, exact resumption, and what is logged."""

import json
import warnings

import pytest
import torch
from lightning import Callback, Trainer
from torch import nn

from diffexp.codecs import Pixels
from diffexp.conditioning import ClassLabel
from diffexp.data import Digits
from diffexp.diffusion import Chain, FixedSmall, Objective, Uniform, V, cosine
from diffexp.networks import UNet
from diffexp.training import (
    EMA,
    AtomicCheckpointIO,
    Checkpoint,
    DataModule,
    DiffusionModule,
    Jsonl,
    LearningRate,
)
from diffexp.training.log_filters import quiet

STEPS = 30  # with 32 images in 2 micro-batches: 45 batches an epoch


def module(seed=0, **options):
    """A small network with dropout, so that its randomness is tested too."""

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
    return Trainer(
        accelerator="cpu",
        max_steps=steps,
        accumulate_grad_batches=accumulate,
        log_every_n_steps=every,
        logger=[Jsonl(folder / "metrics.jsonl")],
        callbacks=list(callbacks),
        plugins=[AtomicCheckpointIO()],
        default_root_dir=folder,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        **options,
    )


def fit(folder, made=None, data=None, ckpt_path=None, **options):
    folder.mkdir(exist_ok=True)
    made, data = made or module(), data or loader()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`isinstance")
        warnings.filterwarnings("ignore", "Found .* in eval mode")
        warnings.filterwarnings("ignore", ".*does not have many workers")
        trainer(folder, **options).fit(made, data, ckpt_path=ckpt_path)
    return made


def same(a, b):
    a, b = a.state_dict(), b.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """A whole run, its folder, and a checkpoint of step 25, in the middle of the second epoch."""
    folder = tmp_path_factory.mktemp("unbroken")
    made = fit(folder, callbacks=[Checkpoint(str(folder / "at"), every=25)])
    return made, folder


def test_loss_falls_and_what_is_logged(tmp_path):
    data = loader(batch_size=64)
    made = module(lr=LearningRate(steps=60))
    fit(tmp_path, made, data, steps=60, accumulate=1, every=20)
    told = [line for line in lines(tmp_path) if "train/loss" in line]
    assert [line["step"] for line in told] == [20, 40, 60]
    keys = {"train/loss", "train/grad_norm", "train/lr", "train/images_per_s"}
    assert keys | {f"by_t/mse_q{q}" for q in (1, 2, 3, 4)} <= told[-1].keys()
    assert told[-1]["train/loss"] < 0.8 * told[0]["train/loss"]
    assert told[-1]["train/lr"] == 2e-3
    validated = [line["val/loss"] for line in lines(tmp_path) if "val/loss" in line]
    assert len(validated) == 2 and validated[-1] < validated[0]


def test_same_seed_same_run_and_another_seed_another(unbroken, tmp_path):
    torch.manual_seed(12345)  # what others draw makes no difference
    assert same(unbroken[0], fit(tmp_path / "a"))
    assert not same(unbroken[0], fit(tmp_path / "b", module(seed=1), loader(seed=1)))


class Stop(Exception):
    """A failure in the middle of an epoch."""


@pytest.mark.parametrize("at", [7, 25])
def test_resumed_run_is_the_unbroken_one(unbroken, tmp_path, at):
    """Weights, averages and optimizer, bit for bit, from the middle of an epoch."""
    checkpoint = Checkpoint(str(tmp_path / "at"), every=at)
    first = trainer(tmp_path, callbacks=[checkpoint, _StopAt(at)])
    with warnings.catch_warnings(), pytest.raises(Stop):
        warnings.simplefilter("ignore")
        first.fit(module(), loader())
    torch.manual_seed(999)
    torch.randn(17)
    path = str(tmp_path / "at" / "last.ckpt")
    resumed = fit(tmp_path / "resumed", module(seed=0), loader(), ckpt_path=path)
    assert same(unbroken[0], resumed)
    a, b = (m.trainer.optimizers[0].state_dict()["state"] for m in (unbroken[0], resumed))
    assert all(torch.equal(a[i]["exp_avg_sq"], b[i]["exp_avg_sq"]) for i in a)
    rates = [m.trainer.optimizers[0].param_groups[0]["lr"] for m in (unbroken[0], resumed)]
    assert rates[0] == rates[1]


class _StopAt(Checkpoint):
    """Raises after the checkpoint of a step was written."""

    def __init__(self, step):
        super().__init__(".", 1)
        self.step = step

    def on_train_batch_end(self, trainer, *args):
        if trainer.global_step == self.step:
            raise Stop

    def on_train_end(self, *args):
        pass


def test_validation_and_sampling_do_not_disturb_training(unbroken, tmp_path):
    assert same(unbroken[0], fit(tmp_path, check_val_every_n_epoch=1, limit_val_batches=0))


def test_validation_loss_does_not_depend_on_its_batches(unbroken):
    from diffexp.data.loader import EvalLoader
    from diffexp.data.order import in_turn

    made, images = unbroken[0], Digits().split("val")
    found = []
    for size in (7, 64):
        total = count = 0.0
        made.log = lambda name, value, batch_size, **_: found_append(value, batch_size)

        def found_append(value, batch_size):
            nonlocal total, count
            total, count = total + float(value) * batch_size, count + batch_size

        with torch.no_grad():
            for i, batch in enumerate(EvalLoader(images, list(in_turn(len(images), size, 0, 1)), 0)):
                made.validation_step(batch, i)
        found.append(total / count)
    del made.log
    assert found[0] == pytest.approx(found[1], rel=1e-5)


def test_averages_are_not_optimized_and_follow(unbroken):
    made = unbroken[0]
    optimized = {id(p) for g in made.trainer.optimizers[0].param_groups for p in g["params"]}
    assert not optimized & {id(p) for p in made.ema.parameters()}
    weights = [next(n.parameters()) for n in (made.model, *made.ema.models)]
    assert not torch.equal(weights[0], weights[1]) and not torch.equal(weights[1], weights[2])
    assert made.averaged() is made.ema.models[0] and made.denoiser is made.model.denoiser


def test_checkpoint_holds_plain_values_and_the_model(unbroken):
    told = torch.load(unbroken[1] / "at" / "last.ckpt", weights_only=True)
    assert told["diffexp"]["step"] == STEPS and told["diffexp"]["format"] == 2
    assert told["diffexp"]["shape"] == [1, 8, 8] and told["diffexp"]["classes"] == list("0123456789")
    made, own = unbroken[0], {}
    for prefix, state in (
        ("model.", told["trained"]),
        *((f"ema.models.{i}.", e) for i, e in enumerate(told["ema"])),
    ):
        own |= {prefix + name: value for name, value in state.items()}
    own |= {f"objective.{name}": value for name, value in told["objective"].items()}
    assert same(made, _Holder(own)) and "state_dict" not in told


class _Holder:
    def __init__(self, state):
        self.state_dict = lambda: state


def test_checkpoints_are_written_once_a_step(tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr(Trainer, "save_checkpoint", lambda self, path, **_: written.append(self.global_step))
    fit(tmp_path, callbacks=[Checkpoint(str(tmp_path), every=4)], steps=10)
    assert written == [4, 8, 10]


@pytest.mark.parametrize("clip", [None, 1e-3])
def test_gradient_norm_is_measured_and_clipped(clip):
    made = module(clip_norm=clip)
    for p in made.denoiser.parameters():
        p.grad = torch.full_like(p, 0.01)
    count = sum(p.numel() for p in made.denoiser.parameters())
    made.configure_gradient_clipping(None)
    assert float(made.meter.grad_norm) == pytest.approx(0.01 * count**0.5, rel=1e-5)
    after = torch.stack([p.grad.norm() for p in made.denoiser.parameters()]).norm()
    assert float(after) == pytest.approx(0.01 * count**0.5 if clip is None else clip, rel=1e-3)


def test_steps_micro_batches_and_ranks_draw_differently():
    from diffexp.randomness import key

    draws = {key(0, "train", s, m, r) for s in range(20) for m in range(4) for r in range(4)}
    assert len(draws) == 20 * 4 * 4


def test_bfloat16_is_near_float32():
    """At the same times and noise, with weights beyond their zeros."""
    batch = next(iter(loader(batch_size=256).val_dataloader()))
    found = {}
    for precision in ("fp32", "bf16"):
        made = module(precision=precision, ema=EMA(()))
        torch.manual_seed(1)
        for part in made.denoiser.network.modules():
            if isinstance(part, nn.Conv2d):
                nn.init.normal_(part.weight, std=0.05)
        told = []
        made.eval()
        made.log = lambda name, value, told=told, **_: told.append(float(value))
        with torch.no_grad():
            made.validation_step(batch, 0)
        found[precision] = told[0]
    assert found["bf16"] != found["fp32"]
    assert found["bf16"] == pytest.approx(found["fp32"], rel=0.01)


def test_compiling_keeps_the_names_of_the_weights():
    assert module(compile=True).state_dict().keys() == module().state_dict().keys()


class _Watch(Callback):
    """The first average, and the rate, of every step."""

    def __init__(self):
        self.weights, self.averages, self.rates = [], [], []

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        self.weights.append(next(module.denoiser.network.parameters()).detach().clone())
        self.averages.append(next(module.ema.models[0].parameters()).detach().clone())

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])


def test_the_nth_step_is_averaged_as_the_nth(tmp_path):
    """With the warm-up, its decay is (1 + n)/(10 + n) at step n, from 1."""
    watch = _Watch()
    made = module(lr=LearningRate(steps=4), ema=EMA((0.999,)))
    average = next(made.denoiser.network.parameters()).detach().clone()
    fit(tmp_path, made, callbacks=[watch], steps=4, accumulate=1)
    assert len(watch.weights) == 4
    for n, (weight, found) in enumerate(zip(watch.weights, watch.averages, strict=True), 1):
        average = average.lerp(weight, 1 - (1 + n) / (10 + n))
        torch.testing.assert_close(found, average, rtol=1e-6, atol=1e-7)


def test_a_longer_run_has_the_rate_of_its_step_from_the_first_on(unbroken, tmp_path):
    watch, rate = _Watch(), LearningRate(steps=40, warmup=5, shape="cosine")
    path = str(unbroken[1] / "at" / "last.ckpt")
    fit(tmp_path, module(lr=rate), ckpt_path=path, callbacks=[watch], steps=33, accumulate=2)
    assert watch.rates[::2] == [2e-3 * rate(step) for step in (30, 31, 32)] and watch.rates[0] > 0


def test_the_ranks_together_draw_what_one_rank_draws():
    """Times, noise and dropped labels of the parts are those of the whole."""
    from types import SimpleNamespace

    from diffexp.data.batch import Batch

    made = module(conditioning=ClassLabel(0.5))
    batch = next(iter(loader(batch_size=32).train_dataloader()))
    seen, output = [], made.denoiser.output

    def watched(x, t, cond):
        seen.append((x, t, cond.label))
        return output(x, t, cond)

    made.denoiser.output = watched
    found = {}
    for ranks in (1, 2, 4):
        for rank in range(ranks):
            made._trainer = SimpleNamespace(global_step=5, world_size=ranks, global_rank=rank)
            mine = slice(rank * 32 // ranks, (rank + 1) * 32 // ranks)
            made.training_step(Batch(*(None if v is None else v[mine] for v in batch)), 3)
        found[ranks] = [torch.cat(parts) for parts in zip(*seen, strict=True) if parts[0] is not None]
        seen.clear()
    dropped = found[1][2] == 10
    assert not torch.equal(dropped[:16], dropped[16:]) and not torch.equal(dropped[:8], dropped[8:16])
    for ranks in (2, 4):
        assert all(torch.equal(a, b) for a, b in zip(found[ranks], found[1], strict=True))


def _batch(**more):
    batch = next(iter(loader(batch_size=32).train_dataloader()))
    return batch._replace(**more)


def _alone(made):
    """The module as if a trainer of one rank were at its step 5."""
    from types import SimpleNamespace

    made._trainer = SimpleNamespace(global_step=5, world_size=1, global_rank=0)
    return made


def test_images_weigh_in_the_loss_as_the_batch_says():
    """One image alone, of weight 32, is its own loss; none is nothing."""
    weight = torch.zeros(32)
    weight[3] = 32.0
    plain, one, none = (
        float(_alone(module()).training_step(_batch(weight=w), 0).detach())
        for w in (None, weight, torch.zeros(32))
    )
    seen = []
    made = _alone(module())
    made.meter.add = lambda losses, *part: seen.append(losses)
    made.training_step(_batch(), 0)
    assert none == 0 and one == pytest.approx(float(seen[0].each[3]), rel=1e-6)
    assert plain == pytest.approx(float(seen[0].each.mean()), rel=1e-6)


def test_latents_that_lie_ready_are_not_made_again():
    """They are what the codec would make: the same loss, and the codec is not asked."""
    batch = _batch()
    made = _alone(module())
    loss = float(made.training_step(batch, 0).detach())
    latent = made.model.codec.encode(batch.image)
    made.model.codec.encode = None
    ready = batch._replace(latent=latent, image=torch.zeros_like(batch.image))
    assert float(made.training_step(ready, 0).detach()) == loss
