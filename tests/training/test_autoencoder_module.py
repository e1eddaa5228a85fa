"""Training an autoencoder: exact resumption with two optimizers, which weights move, and what is refused."""

import json
import warnings

import pytest
import torch
from lightning import Trainer

from diffexp.data import Digits
from diffexp.errors import ConfigError, DataError, DivergedError
from diffexp.model.find import describe
from diffexp.networks.autoencoder import Autoencoder
from diffexp.networks.vae import VAE
from diffexp.training import (
    EMA,
    Adversarial,
    AtomicCheckpointIO,
    AutoencoderModule,
    Checkpoint,
    DataModule,
    Jsonl,
    LearningRate,
)
from diffexp.training.log_filters import quiet

STEPS = 24  # with 32 images in a batch and 2 batches in a step: an epoch is 23 steps, the last of one batch


def of(latent_channels=2, mult=(1, 2)):
    """What makes a small network with dropout."""
    return lambda in_channels: Autoencoder(in_channels, latent_channels, 8, mult, groups=4, dropout=0.1)


def module(seed=0, **options):
    """A small network, a learned log-variance, and a discriminator from step 6 on."""

    def network(in_channels):
        torch.manual_seed(seed)
        return of()(in_channels)

    def optimizer(parameters):
        return torch.optim.AdamW(parameters, lr=2e-3)

    parts = {
        "network": network,
        "optimizer": optimizer,
        "lr": LearningRate(steps=STEPS, warmup=5, shape="cosine"),
        "ema": EMA((0.5, 0.99)),
        "learned_logvar": True,
        "adversarial": Adversarial(0.5, start=6, channels=8),
        "accumulate": 2,
        "seed": seed,
    }
    return AutoencoderModule((1, 8, 8), **parts | options)


def fit(folder, made=None, steps=STEPS, ckpt_path=None, every=100, data=None):
    folder.mkdir(exist_ok=True)
    made = made or module()
    quiet()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Found .* in eval mode")
        warnings.filterwarnings("ignore", ".*does not have many workers")
        trainer = Trainer(
            accelerator="cpu",
            max_steps=steps,
            log_every_n_steps=4,
            logger=[Jsonl(folder / "metrics.jsonl")],
            callbacks=[Checkpoint(str(folder / "at"), every=every)],
            plugins=[AtomicCheckpointIO()],
            default_root_dir=folder,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
            num_sanity_val_steps=0,
        )
        trainer.fit(made, data or DataModule(Digits(), batch_size=32, flip=True, seed=0), ckpt_path=ckpt_path)
    return made


def states(made):
    """All that a step changes: weights, averages, the loss, and both optimizers."""
    tensors = dict(made.state_dict())
    for i, optimizer in enumerate(made.trainer.optimizers):
        for j, state in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer{i}.{j}.{name}": value for name, value in state.items()}
        tensors[f"optimizer{i}.lr"] = torch.tensor(optimizer.param_groups[0]["lr"])
    return tensors


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def lines(folder, key="train/loss"):
    told = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    aside = ("seconds", "train/images_per_s")
    return [{k: v for k, v in line.items() if k not in aside} for line in told if key in line]


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    folder = tmp_path_factory.mktemp("unbroken")
    return fit(folder), folder


@pytest.mark.parametrize("at", [3, 9])  # before the discriminator is trained, and after
def test_a_run_that_goes_on_is_the_unbroken_one_in_both_optimizers(unbroken, tmp_path, at):
    whole, folder = unbroken
    first = module()
    fit(tmp_path, first, steps=at)  # as if it had been killed behind its checkpoint
    again = fit(tmp_path, module(), ckpt_path=tmp_path / "at" / "last.ckpt")
    assert len(again.trainer.optimizers) == 2 and same(states(again), states(whole))
    assert lines(tmp_path) == lines(folder)
    assert lines(tmp_path, "val/psnr") == lines(folder, "val/psnr") != []


def test_steps_are_those_of_the_autoencoder_and_the_discriminator_begins_at_its_step(unbroken, tmp_path):
    whole, folder = unbroken
    assert whole.global_step == STEPS
    told = lines(folder)
    assert [line["step"] for line in told] == list(range(4, STEPS + 1, 4))
    assert told[0]["train/discriminator"] == told[0]["train/loss_adversarial"] == 0
    assert told[2]["train/discriminator"] > 0 and told[2]["train/adaptive"] > 0
    counts = [int(o.state_dict()["state"][0]["step"]) for o in whole.trainer.optimizers]
    assert counts == [STEPS, STEPS - 6]
    rates = [o.param_groups[0]["lr"] for o in whole.trainer.optimizers]
    assert rates[0] == rates[1]  # at each step the same
    new = module()
    before = {k: v.clone() for k, v in new.discriminator.state_dict().items()}
    fit(tmp_path, new, steps=6)
    assert same(before, new.discriminator.state_dict())


def test_what_is_logged_adds_up(unbroken):
    made, folder = unbroken
    line = lines(folder)[-1]
    D, s = 64, line["train/logvar"]
    # the mean of a product over steps is not the product of the means: s moves little in four steps
    nll = line["train/loss_rec"] * torch.tensor(-s).exp().item() + D * s
    total = nll + line["train/loss_kl"] + line["train/loss_adversarial"]
    assert line["train/loss"] == pytest.approx(total, rel=1e-2)
    assert line["train/loss_kl"] == pytest.approx(1e-6 * line["train/kl"], rel=1e-5)
    assert float(made.loss.logvar.detach()) != 0


def test_its_checkpoint_says_what_it_is(unbroken):
    made, folder = unbroken
    path = folder / "at" / "last.ckpt"
    held = torch.load(path, weights_only=True)
    about = held["diffexp"]
    told = {key: about[key] for key in ("format", "kind", "shape", "step")}
    assert told == {"format": 2, "kind": "autoencoder", "shape": [1, 8, 8], "step": STEPS}
    assert held["trained"].keys() == held["ema"][1].keys() == made.network.state_dict().keys()
    assert {"loss.logvar", "discriminator.body.0.weight"} <= held["objective"].keys()
    assert about["results"]["psnr"] == pytest.approx(lines(folder, "val/psnr")[-1]["val/psnr"])
    with pytest.raises(DataError, match="the checkpoint is of an autoencoder, and holds no diffusion"):
        describe(held | {"diffexp": about | {"config": {}}}, path)


def test_a_checkpoint_of_another_run_is_refused(unbroken, tmp_path):
    path = unbroken[1] / "at" / "last.ckpt"
    for options, what in (
        ({"ema": EMA((0.5,))}, "has 2 averages, and the run 1"),
        ({"learned_logvar": False}, "not of this model: loss.logvar"),
        ({"network": of(3)}, "another size"),
    ):
        with pytest.raises(DataError, match=what):
            fit(tmp_path, module(**options), ckpt_path=path)


def test_a_decoder_is_trained_on_and_its_encoder_stays(unbroken, tmp_path):
    whole, folder = unbroken
    made = module(seed=3, train="decoder", learned_logvar=False, adversarial=None)
    made.begin_with(str(folder / "at" / "last.ckpt"))
    begun = {k: v.clone() for k, v in made.network.state_dict().items()}
    assert same(begun, whole.averaged().state_dict())
    fit(tmp_path, made, steps=4)
    for network in (made.network, *made.averages()):
        moved = {k for k, v in network.state_dict().items() if not torch.equal(v, begun[k])}
        assert moved == {k for k in begun if k.startswith(("decoder.", "from_latent."))}
    other = module(train="decoder", network=of(3))
    with pytest.raises(ConfigError, match="the encoder of this run is another: "):
        other.begin_with(str(folder / "at" / "last.ckpt"))


def test_a_loss_that_is_not_finite_ends_the_run_with_its_images(tmp_path):
    made = module()
    with torch.no_grad():
        made.network.decoder.conv_out.bias.fill_(float("nan"))
    with pytest.raises(DivergedError, match=r"is not finite at step 1: images \d+, \d+, \d+ and 29 more"):
        fit(tmp_path, made)
    assert not (tmp_path / "at" / "last.ckpt").exists()


def test_a_plain_autoencoder_learns_the_bound_of_digits(tmp_path):
    made = module(
        network=lambda image_size, in_channels: VAE(image_size, in_channels, 4, (32,)),
        reconstruction="gaussian", kl=1.0, learned_logvar=False, adversarial=None, accumulate=1,
        lr=LearningRate(steps=200), ema=EMA(()),
    )  # fmt: skip
    fit(tmp_path, made, steps=120)
    bounds = [line["val/loss"] for line in lines(tmp_path, "val/loss")]
    assert made.latent_shape == (4, 1, 1) and bounds[-1] < bounds[0]


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"precision": "fp16"}, "an autoencoder is not trained in precision=fp16"),
        ({"train": "encoder"}, "train=encoder"),
        ({"network": of(mult=(1,) * 5)},
         "images of 8x8 cannot be made 16 times smaller"),
    ],
)  # fmt: skip
def test_what_cannot_be_trained_is_refused(options, what):
    with pytest.raises(ConfigError, match=what):
        module(**options)
