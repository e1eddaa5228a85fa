"""Training in aspect buckets: exact resumption in mid-epoch, what ranks weigh, and what is refused."""

import pytest
import torch
from commands import CONF, composed
from lightning import Callback
from PIL import Image
from test_module import fit, lines, module, same
from tiny_autoencoder import Tiny

from diffexp.conditioning import Unconditional
from diffexp.config.hydra_errors import _unknown_key
from diffexp.data import Buckets, Folder
from diffexp.data.bucket_order import BucketOrder
from diffexp.errors import ConfigError
from diffexp.tasks.run import run_job
from diffexp.training import Checkpoint, DataModule
from diffexp.training.bucket_checks import check_buckets

SHAPES = [(16, 16), (12, 24), (24, 12), (40, 10)]  # (width, height)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    root = tmp_path_factory.mktemp("photos")
    for i in range(33):
        width, height = SHAPES[i % 4]
        noise = torch.randint(256, (height, width), generator=torch.Generator().manual_seed(i))
        Image.fromarray(noise.byte().numpy()).save(root / f"{i:02}.png")
    return root


def loader(photos, **options):
    buckets = Buckets(step=4, least=8, most=32)
    data = Folder(
        str(photos),
        16,
        "L",
        "none",
        **{"stream": True, "buckets": buckets, "val": 0.1, "test": 0.1} | options,
    )
    return DataModule(data, batch_size=6, eval_batch_size=4, flip=True)


class Seen(Callback):
    """Writes down the images of each batch with their size, and breaks in the middle of one."""

    def __init__(self, stop=None):
        self.batches, self.stop = [], stop

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if len(self.batches) == self.stop:
            raise KeyError("the machine is gone")
        self.batches.append((batch.index.tolist(), tuple(batch.image.shape)))


def test_a_run_goes_on_in_mid_epoch_bit_for_bit(photos, tmp_path):
    """Broken in batch 9, after the checkpoint of batch 8; there are 6 batches in an epoch."""
    given, unbroken, broken, rest = {"conditioning": Unconditional()}, Seen(), Seen(9), Seen()
    whole = fit(tmp_path / "whole", module(**given), loader(photos), steps=8, callbacks=[unbroken])
    assert len(loader(photos).train_dataloader()) == 6 and len(unbroken.batches) == 16
    assert len({shape[2:] for _, shape in unbroken.batches}) == 4
    assert all("val/loss" not in line or line["val/loss"] > 0 for line in lines(tmp_path / "whole"))
    with pytest.raises(KeyError):
        keeper = Checkpoint(str(tmp_path / "at"), every=4)
        fit(tmp_path / "first", module(**given), loader(photos), steps=8, callbacks=[broken, keeper])
    torch.manual_seed(999)
    kept = loader(photos, stream=False)
    path = str(tmp_path / "at" / "last.ckpt")
    resumed = fit(tmp_path / "rest", module(**given), kept, ckpt_path=path, steps=8, callbacks=[rest])
    assert rest.batches == unbroken.batches[8:]
    assert same(whole, resumed)


def test_images_that_fill_a_batch_up_do_not_change_its_gradient(photos):
    """A batch of 3 on two ranks is one of 4, of which one weighs nothing, and draws the same."""
    made = module(conditioning=Unconditional())
    torch.nn.init.normal_(made.denoiser.network.conv_out.weight)
    made.eval()
    bucket = torch.zeros(3, dtype=torch.int64)
    alone = BucketOrder(bucket, 2)
    number = next(k for k in range(2) if len(alone.batch(k)[1]) == 1)
    ranks = [BucketOrder(bucket, 2, rank=rank, world=2) for rank in (0, 1)]
    x = torch.randn(3, 1, 8, 16, generator=torch.Generator().manual_seed(0))

    def gradient(order):
        made.zero_grad()
        index, weight, real = order.batch(number)[1], order.weight(number), order.real(number)
        drawn, place = torch.Generator().manual_seed(1), (order.rank, order.world)
        made.objective(made.denoiser, x[index], None, drawn, place, weight, real=real).loss.backward()
        return torch.cat([p.grad.flatten() for p in made.denoiser.parameters() if p.grad is not None])

    one = gradient(alone)
    two = sum(gradient(rank) for rank in ranks) / 2
    assert alone.weight(number) is None and [float(r.weight(number)) for r in ranks] == [2, 0]
    assert torch.allclose(one, two, rtol=1e-5, atol=1e-7) and one.norm() > 0


def refused(photos, tmp_path, *typed):
    line = [
        "experiment=folder", "data=buckets", f"data.path={photos}", "data.size=32", "logger=none",
        f"dir={tmp_path}", *typed,
    ]  # fmt: skip
    cfg, choices = composed(line)
    with pytest.raises(ConfigError) as error:
        run_job(cfg, tmp_path, line, choices)
    return error.value


def test_a_step_that_the_network_cannot_take_is_refused_with_one_that_it_can(photos, tmp_path):
    error = refused(photos, tmp_path, "data.buckets.step=4")
    assert error.where == "data.buckets.step" and error.do == "type data.buckets.step=8"
    assert "multiples of 8" in error.what


def test_buckets_of_other_data_are_refused():
    error = _unknown_key("data.buckets.step", ["data=shards"], CONF)
    assert "without data=buckets" in error.what and error.do.startswith("type data=buckets")


def test_a_network_of_one_size_is_refused(photos, tmp_path):
    error = refused(photos, tmp_path, "network=gaussian")
    assert "one size" in str(error) and "network=unet_auto" in str(error)


def test_an_autoencoder_takes_images_of_one_size(photos, tmp_path):
    error = refused(photos, tmp_path, "task=autoencoder")
    assert error.where == "data.buckets" and error.do == "type data=folder"


def test_latents_that_are_kept_are_refused_with_buckets(photos):
    model = module(conditioning=Unconditional(), codec=Tiny(scale=1.0)).model
    with pytest.raises(ConfigError) as error:
        check_buckets(model, loader(photos))
    assert error.value.where == "codec.cache" and error.value.do == "type codec.cache=false"


def test_latents_that_are_made_anew_have_the_shape_of_their_bucket(photos, tmp_path):
    """The codec halves the sides, and the network once more: sides are multiples of 4."""
    made = module(conditioning=Unconditional(), codec=Tiny(scale=1.0, cache=False))
    check_buckets(made.model, loader(photos))
    with pytest.raises(ConfigError, match=r"multiples of 4[\s\S]*step=4"):
        check_buckets(made.model, loader(photos, buckets=Buckets(step=2, least=8, most=32)))
    assert made.model.latent_of(8, 16) == (2, 4, 8)
    fit(tmp_path, made, loader(photos), steps=6, accumulate=1)
    assert made.global_step == 6 and not made.recent.bad()


def test_a_folder_trains_in_buckets_from_a_typed_line(photos, tmp_path):
    line = [
        "experiment=folder", "data=buckets", f"data.path={photos}", "data.size=16", "logger=none",
        "network=unet_tiny", "network.channels=8", "network.attention=[8]", "trainer.max_steps=3",
        "trainer.val_check_interval=3",
        "sampler.steps=2", "evaluator.pictures=4", f"dir={tmp_path}", "precision=fp32",
    ]  # fmt: skip
    cfg, choices = composed(line)
    results = run_job(cfg, tmp_path, line, choices)
    assert results["val/loss"] > 0
    told = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)["diffexp"]
    assert told["shape"] == [1, 16, 16]
