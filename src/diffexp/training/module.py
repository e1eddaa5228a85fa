"""DiffusionModule: the weights, their averages, and one step of training. It knows nothing of sampling.

Times, noise and dropped labels are a function of (seed, step, micro-batch) and of the place of the image in
the batch of all ranks, so that a resumed run draws what the unbroken one draws, on any number of ranks, and
validation disturbs nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from diffexp.codecs import Codec
from diffexp.conditioning import Conditioning, dropped
from diffexp.data.batch import Batch
from diffexp.data.mixed import Mixed
from diffexp.diffusion import Clipped, Denoiser, Importance, Objective, Schedule, Static
from diffexp.diffusion.denoiser import Precision
from diffexp.diffusion.likelihood import bits_per_dim
from diffexp.diffusion.prediction import Parameterization
from diffexp.diffusion.variance import Variance
from diffexp.errors import ConfigError
from diffexp.model.base import Base, prepare
from diffexp.model.begin import Fit, begin, latents_of, weights_to_begin_with
from diffexp.model.build import build_model
from diffexp.model.model import Model
from diffexp.model.trainable import Full, Trainable
from diffexp.randomness import Noise, key
from diffexp.training.data_module import DataModule
from diffexp.training.ema import EMA, Averages
from diffexp.training.lr import LearningRate
from diffexp.training.meter import Meter
from diffexp.training.optimizer import optimizer_of
from diffexp.training.state import put_state, take_state
from diffexp.training.trained import Trained

_GOLDEN = 0.6180339887498949


class DiffusionModule(Trained):
    """Trains a denoiser of images of `shape`, (C, H, W), whose classes have the names `classes`.

    network, optimizer: called with what they still need. clip_norm: of the gradient, None for no clipping.
    precision: of the network alone. bpd_terms: of the bound, for each validation image; 0 for none of
    val/bpd. config: plain values, stored in the checkpoint. texts: the captions of the training images, if
    any. tune: what is trained, None for all; below: the run that is adapted, of a tune that needs one.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        classes: Sequence[str] | None,
        network: Callable[..., nn.Module],
        schedule: Schedule,
        prediction: Parameterization,
        variance: Variance,
        objective: Objective,
        conditioning: Conditioning,
        codec: Codec,
        optimizer: Callable[..., Optimizer],
        lr: LearningRate,
        ema: EMA,
        seed: int = 0,
        precision: Precision = "fp32",
        compile: bool = False,
        clip_norm: float | None = 1.0,
        bpd_terms: int = 0,
        config: Mapping[str, Any] | None = None,
        texts: Sequence[str] | None = None,
        tune: Trainable | None = None,
        below: Base | None = None,
    ) -> None:
        super().__init__(lr, Meter(), config)
        objective.check(variance, codec.pixels)
        objective.check_captions(texts)
        weights = ema.name(None)
        parts = (network, schedule, prediction, variance, conditioning, codec, precision, weights)
        known = {} if below is None else {"learned": below.learned, "of_codec": below.codec or None}
        self.model = build_model(shape, classes, *parts, texts=texts, **known)
        self.tune, self.below, self.texts = tune or Full(), below, texts
        self.trained, self.base = self.tune.parameters(self.model), dict[str, str]()
        self.ema = Averages(self.model, ema, self.tune)
        if compile:
            self.denoiser.network.compile()
        self.objective = objective
        self.make_optimizer, self.seed, self.clip_norm = optimizer, seed, clip_norm
        if bpd_terms and (bpd_terms < 2 or not codec.pixels):
            do = "give 0, or 2 or more, with codec=pixels"
            raise ConfigError(f"bpd_terms={bpd_terms}", "model.bpd_terms", do)
        self.bpd_terms = bpd_terms

    @property
    def denoiser(self) -> Denoiser:
        """The denoiser that is trained."""
        return self.model.denoiser

    def averaged(self) -> Model:
        """Return what samples: the first average, or the model that is trained where there is none."""
        return next(iter(self._averages()), self.model)

    def stored(self) -> list[Tensor]:
        """Return the weights that a checkpoint holds: what is trained, and each average of it."""
        return [w for m in (self.model, *self._averages()) for w in self.tune.state(m).values()]

    def begin_with(self, path: str) -> Fit:
        """Begin with the weights of another run, in the averages as well. Raises DataError."""
        other = weights_to_begin_with(path)
        for average in self._averages():
            begin(average, self.tune, *other)
        if scale := latents_of(path, self.base):
            self.model.codec.remember(scale)
        return begin(self.model, self.tune, *other)

    def load(self) -> None:
        """Read the weights that come from files of their own, once, before anything is encoded."""
        self.model.load()
        self.make_ready()

    def make_ready(self) -> str | None:
        """Make ready what is trained, without `load` for checks alone; return a line to say."""
        self.base, line = prepare(self.model, self.tune, self.below, self.texts)
        if self.base or line:  # what was read is shared with the averages
            self.ema = Averages(self.model, self.ema.settings, self.tune)
            self.trained = self.tune.parameters(self.model)
        return line

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        # 0 is the rank of whoever draws for all
        drawn, rank = key(self.seed, "train", self.global_step, batch_idx, 0), self.global_rank
        # masks are not to follow the noise
        torch.manual_seed(key(drawn, "dropout", *([rank] if rank else [])))
        generator = torch.Generator(self.device).manual_seed(drawn)
        place = (rank, self.trainer.world_size)
        x0 = self._encoded(batch, key(drawn, "codec"))
        cond = dropped(self.model.conditioning, batch.asked, generator, place, batch.real)
        scale, more = batch.weight, self._said(batch)
        if batch.real is not None:
            more |= {"real": batch.real}
        losses = self.objective(self.denoiser, x0, cond, generator, place, scale, **more)
        if isinstance(self.objective.times, Importance):
            mine = torch.stack([losses.t, losses.each.double()])
            seen = cast(Tensor, self.all_gather(mine))  # (ranks, 2, B), or (2, B)
            in_turn = seen.view(-1, 2, len(x0)).transpose(0, 1).flatten(1)
            self.objective.times.learn(*in_turn[:, : batch.real])
        self.meter.add(losses, *self._part_of(batch))
        self.recent.add(self.global_step, batch.index, losses.each, losses.t)
        return losses.loss

    def passes(self, batch: Batch) -> tuple[nn.Module, Callable[[Any], Tensor]]:
        image = batch.image[:1]
        shape = self.model.latent_of(*image.shape[2:]) if batch.latent is None else self.model.latent_shape
        with torch.no_grad():
            cond = self.model.condition(batch.asked)
        x, t = torch.zeros(1, *shape, device=self.device), torch.full((1,), 0.5, device=self.device)
        one = None if cond is None else cond[:1]
        return self.denoiser.network, lambda network: network(x, t, one)

    def _part_of(self, batch: Batch) -> tuple[Tensor | None, list[str]]:
        """Return of which part of a mixture each image is, and the names of the parts."""
        data = getattr(self.trainer, "datamodule", None)
        images = data.data.split("train") if isinstance(data, DataModule) else None
        if not isinstance(images, Mixed) or len(images.names) < 2:
            return None, []
        return images.part[batch.index.cpu()].to(self.device), images.names

    def _encoded(self, batch: Batch, seed: int) -> Tensor:
        """x0 of a batch; a codec draws by seed and image."""
        codec = self.model.codec
        shape = (
            self.model.latent_of(*batch.image.shape[2:]) if batch.latent is None else self.model.latent_shape
        )

        def noise(k: int) -> Tensor:  # made when it is asked for: for that the index comes to the CPU
            return Noise(seed, batch.index, shape, self.device)(k)

        return codec.encode(batch.image, noise) if batch.latent is None else codec.draw(batch.latent, noise)

    def _said(self, batch: Batch) -> dict[str, Any]:
        # an objective of one's own need not know of captions
        return {"texts": batch.text} if self.objective.captioned else {}

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        most = float("inf") if self.clip_norm is None else self.clip_norm
        self.meter.grad_norm = nn.utils.clip_grad_norm_(self.trained, most)

    @property
    def scaled(self) -> bool:
        return self.denoiser.autocast == torch.float16

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        super().optimizer_step(*args, **kwargs)
        self.ema.update(self.model, self.global_step + 1)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """The loss of the averaged weights at times and noise that belong to each image."""
        model, x0 = self.averaged(), self._encoded(batch, key(self.seed, "val", "codec"))
        index, T = batch.index.cpu(), model.denoiser.schedule.T
        t = ((index.double() * _GOLDEN % 1 * T).floor() + 1) / T  # evenly spread over any run of images
        noise = Noise(key(self.seed, "val"), index, tuple(x0.shape[1:]), self.device)(0)
        cond = model.condition(batch.asked)
        said = self._said(batch)
        losses = self.objective.at(model.denoiser, x0, cond, t.to(self.device), noise, **said)
        self.log("val/loss", losses.loss, batch_size=len(x0), sync_dist=True)
        if self.bpd_terms:
            denoise = Clipped(model.denoiser, model.denoiser.schedule, Static())
            draw = Noise(key(self.seed, "val", "bpd"), index, tuple(x0.shape[1:]), self.device)
            bits = bits_per_dim(denoise, model.denoiser.schedule, x0, draw, cond, self.bpd_terms)
            self.log("val/bpd", bits.total.mean().float(), batch_size=len(x0), sync_dist=True)

    def configure_optimizers(self) -> dict[str, Any]:  # type: ignore[override]
        groups, others = self.tune.groups(self.model), [*self.objective.parameters()]
        optimizer = optimizer_of(self.make_optimizer, groups, others)
        # a function, for of an object LambdaLR would restore the settings of the run before
        schedule = LambdaLR(optimizer, lambda step: self.rate(step))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        reduce = self.trainer.strategy.reduce
        put_state(checkpoint, self.model, self._averages(), self.objective, self.tune, self.base, self.below)
        checkpoint["diffexp"] |= {
            "config": self.config,
            "step": self.global_step,
            "ranks": self.trainer.world_size,
            # Lightning saves on every rank, and the first one writes
            "meter": self.meter.state(lambda sums: reduce(sums, reduce_op="sum")),
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        path = Path(str(self.trainer.ckpt_path or ""))
        take_state(checkpoint, self.model, self._averages(), self.objective, self.tune, self.base, path)
        checkpoint["state_dict"] = self.state_dict()  # it is in place: Lightning has nothing left to do
        self.meter.restore(checkpoint["diffexp"].get("meter"), self.global_rank)

    def _averages(self) -> list[Model]:
        return cast(list[Model], list(self.ema.models))
