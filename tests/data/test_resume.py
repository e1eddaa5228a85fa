"""A run that was stopped in mid-epoch sees exactly the batches that the unbroken run sees, flips included."""

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from PIL import Image
from torch import nn

from diffexp.data import Digits, Folder
from diffexp.training import DataModule

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*LeafSpec.*:FutureWarning",  # Lightning's own use of torch
    "ignore:.*smaller than the logging interval",
    "ignore:.*callbacks used to create the checkpoint need to be provided",
)


class Watch(pl.LightningModule):
    """Learns a number from the pixels, and writes down what it was shown."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.seen = []

    def training_step(self, batch, batch_idx):
        self.seen.append(
            (
                batch.index.tolist(),
                batch.image.long().sum((1, 2, 3)).tolist(),
                hash(batch.image.numpy().tobytes()),
            )
        )
        return (self.weight - batch.image.float().mean() / 255) ** 2

    def validation_step(self, batch, batch_idx):
        pass

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def run(data, steps, tmp_path, ckpt=None, workers=0, seed=3, **trainer):
    model = Watch()
    loader = DataModule(data, batch_size=trainer.pop("batch_size", 4), flip=True, workers=workers, seed=seed)
    quiet = dict(logger=False, enable_progress_bar=False, enable_model_summary=False)
    fit = pl.Trainer(
        accelerator="cpu",
        max_steps=steps,
        max_epochs=trainer.pop("max_epochs", -1),
        use_distributed_sampler=False,
        default_root_dir=tmp_path,
        **quiet,
        **{"enable_checkpointing": False, **trainer},
    )
    fit.fit(model, loader, ckpt_path=ckpt, weights_only=True)
    return model, fit


@pytest.fixture(scope="module")
def streaming(tmp_path_factory):
    root = tmp_path_factory.mktemp("images")
    for i in range(30):
        noise = torch.randint(256, (8, 8, 3), generator=torch.Generator().manual_seed(i), dtype=torch.uint8)
        Image.fromarray(noise.numpy()).save(root / f"{i:02}.png")
    return Folder(str(root), 8, stream=True)


@pytest.mark.parametrize("stop", [1, 5, 6, 7, 13])
def test_a_run_stopped_by_max_steps_goes_on_with_the_next_batch(streaming, stop, tmp_path):
    whole, _ = run(streaming, 23, tmp_path)
    first, trainer = run(streaming, stop, tmp_path)
    trainer.save_checkpoint(tmp_path / "stop.ckpt")
    second, _ = run(streaming, 23, tmp_path, tmp_path / "stop.ckpt")
    assert len(whole.seen) == 23
    assert first.seen + second.seen == whole.seen
    assert second.weight.item() == whole.weight.item()


@pytest.mark.parametrize("workers", [0, 2])
def test_any_checkpoint_of_a_run_leads_to_the_same_end(streaming, workers, tmp_path):
    """Of every third step, and of the end of an epoch; 6 batches are an epoch."""
    whole, _ = run(streaming, 17, tmp_path)
    saving = [
        ModelCheckpoint(tmp_path, "step-{step}", every_n_train_steps=3, save_top_k=-1),
        ModelCheckpoint(
            tmp_path, "epoch-{step}", every_n_epochs=1, save_top_k=-1, save_on_train_epoch_end=True
        ),
    ]
    again, _ = run(streaming, 17, tmp_path, workers=workers, callbacks=saving, enable_checkpointing=True)
    assert again.seen == whole.seen
    files = sorted(tmp_path.glob("*.ckpt"))
    for file in files if workers == 0 else files[:3]:
        step = int(file.stem.split("=")[1])
        rest, _ = run(streaming, 17, tmp_path, file, workers=workers)
        assert rest.seen == whole.seen[step:], file.name
        assert rest.weight.item() == whole.weight.item()
    assert len(files) == 8


class Break(pl.Callback):
    """Fails in the middle of a step, once."""

    def __init__(self, step):
        self.step = step

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        if trainer.global_step == self.step:
            raise KeyError("the machine is gone")


def test_a_batch_whose_step_failed_is_seen_again(streaming, tmp_path):
    whole, _ = run(streaming, 12, tmp_path)
    saving = ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=20, save_on_exception=True)
    with pytest.raises(KeyError):
        run(streaming, 12, tmp_path, callbacks=[Break(9), saving], enable_checkpointing=True)
    (file,) = tmp_path.glob("*.ckpt")
    rest, _ = run(streaming, 12, tmp_path, file)
    assert rest.seen == whole.seen[9:]


def test_accumulation_and_short_epochs(tmp_path):
    """With limit_train_batches an epoch of Lightning is shorter than the data, which is seen all the same."""
    options = dict(limit_train_batches=10, accumulate_grad_batches=2, batch_size=64)
    whole, _ = run(Digits(), 12, tmp_path, **options)
    first, trainer = run(Digits(), 8, tmp_path, **options)
    trainer.save_checkpoint(tmp_path / "stop.ckpt")
    second, _ = run(Digits(), 12, tmp_path, tmp_path / "stop.ckpt", **options)
    assert first.seen + second.seen == whole.seen
    assert len(whole.seen) == 24
    shown = {i for indices, _, _ in whole.seen[:22] for i in indices}
    assert len(shown) == 22 * 64


def test_a_run_of_whole_epochs_sees_every_batch_once_an_epoch(streaming, tmp_path):
    model, trainer = run(streaming, -1, tmp_path, max_epochs=3)
    assert trainer.current_epoch == 3
    for epoch in range(3):
        shown = [i for indices, _, _ in model.seen[6 * epoch : 6 * epoch + 6] for i in indices]
        assert len(set(shown)) == len(shown) == 24
