"""Two real processes share the batches of one."""

import json

import lightning.pytorch as pl
import pytest
import torch
from torch import nn

from diffexp.data import Digits
from diffexp.training import DataModule


class Watch(pl.LightningModule):
    """Writes down the images of each rank at the end."""

    def __init__(self, folder):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.folder, self.seen, self.validated = folder, [], []

    def training_step(self, batch, batch_idx):
        self.seen.append(batch.index.tolist())
        return (self.weight - batch.image.float().mean() / 255) ** 2

    def validation_step(self, batch, batch_idx):
        self.validated.append(batch.index.tolist())

    def on_train_end(self):
        file = self.folder / f"{self.trainer.world_size}-{self.global_rank}.json"
        file.write_text(json.dumps([self.seen, self.validated, self.weight.item()]))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def run(folder, **ranks):
    quiet = dict(
        logger=False, enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False
    )
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=2,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        **quiet,
        **ranks,
    )
    trainer.fit(Watch(folder), DataModule(Digits(), 64, eval_batch_size=100))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Lightning's and gloo's own
def test_two_ranks_see_what_one_sees(tmp_path):
    run(tmp_path, devices=1)
    run(tmp_path, devices=2, strategy="ddp_spawn")
    (seen, validated, weight), first, second = (
        json.loads((tmp_path / f"{name}.json").read_text()) for name in ("1-0", "2-0", "2-1")
    )
    assert [a + b for a, b in zip(first[0], second[0], strict=True)] == seen
    assert [a + b for a, b in zip(first[1], second[1], strict=True)] == validated
    assert {len(index) for index in first[0]} == {32} and len(seen) == 44
    assert first[2] == second[2] == pytest.approx(weight, abs=1e-6)
