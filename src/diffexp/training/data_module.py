"""A data set for Lightning's trainer: batches for training and validation."""

from collections.abc import Sequence

from lightning.pytorch import LightningDataModule

from diffexp.data.bucket_order import BucketOrder, in_turn_of_buckets
from diffexp.data.bucketed import Bucketed
from diffexp.data.dataset import DataSet, Images, SplitName
from diffexp.data.latents import Latents
from diffexp.data.loader import EvalLoader, TrainLoader
from diffexp.data.order import TrainOrder, in_turn
from diffexp.errors import ConfigError
from diffexp.notice import chosen


class DataModule(LightningDataModule):
    """The loaders of a data set.

    batch_size, eval_batch_size: images of all ranks together, of which each takes its equal share. A batch is
    at most all training images, which is said.
    flip: mirror each training image in half of the epochs. workers: processes that decode the images of a
    streaming folder; what lies in memory needs none. seed: of order and flips.
    Use it with Trainer(use_distributed_sampler=False). Raises ConfigError.
    """

    def __init__(
        self,
        data: DataSet,
        batch_size: int = 64,
        eval_batch_size: int = 256,
        flip: bool = False,
        workers: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        for key, value, least in (
            ("batch_size", batch_size, 1),
            ("eval_batch_size", eval_batch_size, 1),
            ("workers", workers, 0),
        ):
            if value < least:
                raise ConfigError(
                    f"{key}={value} is less than {least}", f"loader.{key}", f"type loader.{key}={least}"
                )
        self.data, self.batch_size, self.eval_batch_size = data, batch_size, eval_batch_size
        self.flip, self.workers, self.seed = flip, workers, seed
        self.name = data.name
        self.latents: dict[SplitName, Latents] = {}  # of splits whose latents lie ready

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of every image."""
        return self.data.shape

    @property
    def shapes(self) -> list[tuple[int, int, int]]:
        """(C, H, W) of the images of training: one, or those of the buckets."""
        images = self.data.bucketed("train")
        return [self.shape] if images is None else [(self.shape[0], *size) for size in images.sorted.used]

    @property
    def classes(self) -> tuple[str, ...] | None:
        """The names of the classes, or None."""
        return self.data.classes

    @property
    def texts(self) -> Sequence[str] | None:
        """The captions of the training images, all of each, or None."""
        captions = self.data.split("train").captions
        return None if captions is None else captions.every()

    def prepare_data(self) -> None:
        """Check the files, and download public ones, on one rank of each machine before the others."""
        self.data.check()

    def train_dataloader(self) -> TrainLoader:
        """Return the batches of this rank, from where the trainer is. Raises ConfigError."""
        images = self._images("train")
        place = (self.batch(len(images)), self.seed, *self._rank())
        if isinstance(images, Bucketed):
            order = BucketOrder(images.bucket, *place, images.fill)
        else:
            order = TrainOrder(len(images), *place)
        return TrainLoader(images, order, self.flip, self.workers, self._processed)

    def batch(self, count: int) -> int:
        """Return the size of a batch of `count` training images."""
        if self.batch_size <= count:
            return self.batch_size
        ranks = self._rank()[1]
        most = count - count % ranks or count  # an equal share for each
        chosen(f"batches of {most} images, for there are no more (loader.batch_size={self.batch_size})")
        return most

    def val_dataloader(self) -> EvalLoader:
        """Return the validation split in order."""
        return self._in_order("val")

    def test_dataloader(self) -> EvalLoader:
        """Return the test split in order."""
        return self._in_order("test")

    def _in_order(self, split: SplitName) -> EvalLoader:
        images, place = self._images(split), (self.eval_batch_size, *self._rank())
        if isinstance(images, Bucketed):
            order = in_turn_of_buckets(images.bucket, *place)
        else:
            order = list(in_turn(len(images), *place))
        return EvalLoader(images, order, self.workers)

    def _images(self, split: SplitName) -> Images | Latents:
        return self.latents.get(split) or self.data.bucketed(split) or self.data.split(split)

    def _rank(self) -> tuple[int, int]:
        return (0, 1) if self.trainer is None else (self.trainer.global_rank, self.trainer.world_size)

    def _processed(self) -> int:
        if self.trainer is None:
            return 0
        # of all epochs; a batch that failed half-way is not counted, so it is seen again
        return self.trainer.fit_loop.epoch_loop.batch_progress.state_dict()["total"]["processed"]
