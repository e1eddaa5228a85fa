"""AutoencoderModule: the weights of an autoencoder, their averages, a discriminator, one step of training.

Both optimizers step here, not in Lightning: its count of steps is that of the autoencoder alone, so that
`trainer.max_steps`, `start` and the learning rate mean what they say, also in a run that goes on. Gradients
are averaged over ranks here too; draws are functions of the step, as in module.py.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from diffexp.codecs import Pixels
from diffexp.data.batch import Batch
from diffexp.diffusion.objective import Term
from diffexp.errors import ConfigError
from diffexp.metrics.reconstruction import psnr
from diffexp.model.begin import Fit, begin, weights_to_begin_with
from diffexp.networks.moments import draw
from diffexp.networks.sized_autoencoder import autoencoder_for
from diffexp.randomness import Noise, key
from diffexp.training.autoencoder_adversarial import Adversarial, adaptive_weight
from diffexp.training.autoencoder_losses import AutoencoderLoss, Kind, Losses
from diffexp.training.autoencoder_meter import Means
from diffexp.training.autoencoder_state import Weights, put_state, take_state
from diffexp.training.ema import EMA, Averages
from diffexp.training.lr import LearningRate
from diffexp.training.ranks import average_gradients
from diffexp.training.trained import Trained

_PRECISIONS = {"fp32": None, "bf16": torch.bfloat16}


class AutoencoderModule(Trained):
    """Trains an autoencoder of images of `shape`, (C, H, W).

    network, optimizer: called with what they still need. train: all of it, or the decoder alone.
    reconstruction, kl, deviation, learned_logvar, terms, adversarial: of the loss (autoencoder_losses.py).
    clip_norm: of the gradient, None for none. precision: of the network alone. accumulate: batches of a step.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        network: Callable[..., nn.Module],
        optimizer: Callable[..., Optimizer],
        lr: LearningRate,
        ema: EMA,
        train: Literal["all", "decoder"] = "all",
        reconstruction: Kind = "l1",
        kl: float = 1e-6,
        deviation: float = 0.1,
        learned_logvar: bool = False,
        terms: Mapping[str, Term] | None = None,
        adversarial: Adversarial | None = None,
        clip_norm: float | None = None,
        seed: int = 0,
        precision: str = "fp32",
        compile: bool = False,
        accumulate: int = 1,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(lr, Means(), config)
        self.automatic_optimization = False
        if precision not in _PRECISIONS:
            what = f"an autoencoder is not trained in precision={precision}"
            raise ConfigError(what, "precision", "type precision=bf16 or precision=fp32")
        self.shape, self.autocast, self.tune = shape, _PRECISIONS[precision], Weights(train)
        self.network: Any = autoencoder_for(shape, network)
        self.latent_shape = self.network.latent(shape)
        self.trained = self.tune.parameters(self.network)
        self.ema = Averages(self.network, ema, self.tune, deepcopy)
        self.loss = AutoencoderLoss(reconstruction, kl, deviation, learned_logvar, terms)
        self.adversarial = adversarial or Adversarial()
        self.discriminator = self.adversarial.discriminator(shape)
        self.optimizer_count = 1 if self.discriminator is None else 2
        self.make_optimizer, self.seed, self.clip_norm = optimizer, seed, clip_norm
        self.accumulate, self._pixels = accumulate, Pixels()
        for part in self.network.children() if compile else ():
            part.compile()

    def averaged(self) -> Any:
        """Return what is measured: the first average, or the network that is trained where there is none."""
        return next(iter(self.averages()), self.network)

    def averages(self) -> list[Any]:
        """Return the networks that follow."""
        return list(self.ema.models)

    def stored(self) -> list[Tensor]:
        """Return the weights that a checkpoint holds."""
        held = [self.network, *self.averages(), *self._others().values()]
        return [w for module in held for w in module.state_dict().values()]

    def begin_with(self, path: str, copy: bool = True) -> Fit:
        """Begin with the weights of another run, in the averages as well. Raises DataError, and ConfigError
        where the decoder alone is trained, and the encoder is not that of the run.
        """
        other = weights_to_begin_with(path)
        for average in self.averages() if copy else ():
            begin(average, self.tune, *other)
        fit = begin(self.network, self.tune, *other, copy=copy)
        self.tune.check(fit)
        return fit

    @contextmanager
    def arithmetic(self) -> Iterator[None]:
        """Run the networks in the precision that was asked for."""
        with torch.autocast(self.device.type, self.autocast, enabled=self.autocast is not None):
            yield

    def passes(self, batch: Batch) -> tuple[nn.Module, Callable[[Any], Tensor]]:
        return self.network, lambda net: net.decode(net.moments(self._pixels.encode(batch.image[:1]))[0])

    def _losses(self, network: Any, x: Tensor, noise: Tensor) -> tuple[Tensor, Losses]:
        """Return the reconstructions of images x by a draw of z, float32, and their losses."""
        with self.arithmetic():
            mean, logvar = (part.float() for part in network.moments(x))
            x_hat = network.decode(draw(mean, logvar, noise)).float()
        return x_hat, self.loss(x, x_hat, mean, logvar)

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        drawn, rank = key(self.seed, "train", self.global_step, batch_idx, 0), self.global_rank
        torch.manual_seed(key(drawn, "dropout", *([rank] if rank else [])))
        self.tune.still(self.network)
        x, n = self._pixels.encode(batch.image), len(batch.image)
        shape = (n * self.trainer.world_size, *self.latent_shape)
        generator = torch.Generator(self.device).manual_seed(drawn)
        noise = torch.randn(shape, generator=generator, device=self.device)[rank * n : (rank + 1) * n]
        x_hat, losses = self._losses(self.network, x, noise)
        weight = torch.ones_like(losses.nll) if batch.weight is None else batch.weight
        more, about = self._against(x_hat, (weight * losses.nll).mean())
        (((weight * losses.each).mean() + more) / self.accumulate).backward()
        about |= self._discriminate(x, x_hat.detach())
        about |= {} if self.loss.logvar is None else {"logvar": self.loss.logvar}
        logged = {"loss": losses.each + more, "kl": losses.kl}
        logged |= {f"loss_{name}": part for name, part in losses.parts.items()}
        self.meter.add(logged | {name: value.expand(n) for name, value in about.items()})
        self.recent.add(self.global_step, batch.index, losses.each.detach())
        if (batch_idx + 1) % self.accumulate == 0 or self.trainer.is_last_batch:
            self._step()

    @property
    def _rivals(self) -> bool:
        """Return whether the discriminator counts at this step."""
        return self.discriminator is not None and self.global_step >= self.adversarial.start

    def _against(self, x_hat: Tensor, nll: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the adversarial term, 0-dim, and what is logged of it."""
        zero = torch.zeros_like(nll)
        if self.discriminator is None or not self._rivals:
            return zero, {} if self.discriminator is None else {"loss_adversarial": zero, "adaptive": zero}
        self.discriminator.requires_grad_(False)
        with self.arithmetic():
            term = -self.discriminator(x_hat).float().mean()
        self.discriminator.requires_grad_(True)
        adaptive = torch.ones_like(nll)
        if self.adversarial.adaptive:
            last = self.network.last_layer
            adaptive = adaptive_weight(nll, term, last, self.adversarial.most, self._over_ranks)
        more = self.adversarial.weight * adaptive * term
        return more, {"loss_adversarial": more, "adaptive": adaptive}

    def _discriminate(self, x: Tensor, x_hat: Tensor) -> dict[str, Tensor]:
        """Add the gradient of the discriminator's loss; return what is logged of it."""
        if self.discriminator is None or not self._rivals:
            names = () if self.discriminator is None else ("discriminator", "real", "fake")
            return dict.fromkeys(names, torch.zeros((), device=self.device))
        with self.arithmetic():
            real, fake = (self.discriminator(part).float() for part in (x, x_hat))
        loss = self.adversarial.of_discriminator(real, fake)
        (loss / self.accumulate).backward()
        return {"discriminator": loss, "real": real.mean(), "fake": fake.mean()}

    def _step(self) -> None:
        """Step with the gradients of all ranks. Lightning counts the first optimizer alone."""
        rivals = self._rivals
        for i, (optimizer, schedule) in enumerate(zip(*self._optimizers(), strict=True)):
            if i and not rivals:
                continue
            if self.trainer.world_size > 1:
                mine = [p for group in optimizer.param_groups for p in group["params"]]
                average_gradients(mine, self._over_ranks)
            if not i:
                most = float("inf") if self.clip_norm is None else self.clip_norm
                self.meter.grad_norm = nn.utils.clip_grad_norm_(self.trained, most)
            (optimizer.optimizer if i else optimizer).step()
            schedule.step()
        self.zero_grad(set_to_none=True)
        self.ema.update(self.network, self.global_step)

    def _optimizers(self) -> tuple[list[Any], list[Any]]:
        made: tuple[Any, Any] = (self.optimizers(), self.lr_schedulers())
        optimizers, schedules = (some if isinstance(some, list) else [some] for some in made)
        return optimizers, schedules

    def _over_ranks(self, x: Tensor) -> Tensor:
        return self.trainer.strategy.reduce(x.contiguous(), reduce_op="mean")  # type: ignore[return-value]

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Log the loss of the averaged weights, with noise that belongs to each image, and the PSNR."""
        x, network = self._pixels.encode(batch.image), self.averaged()
        noise = Noise(key(self.seed, "val"), batch.index, self.latent_shape, self.device)(0)
        _, losses = self._losses(network, x, noise)
        with self.arithmetic():
            means = network.decode(network.moments(x)[0]).float()
        values = {"loss": losses.each, "kl": losses.kl, "loss_rec": losses.parts["rec"]}
        values["psnr"] = psnr(batch.image, self._pixels.decode(means))
        logged = {f"val/{name}": value.mean() for name, value in values.items()}
        # where the module steps itself, Lightning would name the line after the number of batches
        step = torch.tensor(float(self.global_step))
        self.log_dict(logged | {"step": step}, batch_size=len(x), sync_dist=True)

    def configure_optimizers(self) -> Any:
        optimizers = [self.make_optimizer([*self.trained, *self.loss.parameters()])]
        schedules = [LambdaLR(optimizers[0], lambda step: self.rate(step))]
        if self.discriminator is not None:  # at each step the rate of the autoencoder
            optimizers.append(self.make_optimizer(self.discriminator.parameters()))
            schedules.append(LambdaLR(optimizers[1], lambda step: self.rate(step + self.adversarial.start)))
        return optimizers, [{"scheduler": schedule, "interval": "step"} for schedule in schedules]

    def _others(self) -> dict[str, nn.Module]:
        """Return what is learned beside the network, by name."""
        parts: dict[str, nn.Module | None] = {"loss": self.loss, "discriminator": self.discriminator}
        return {name: part for name, part in parts.items() if part is not None}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        reduce = self.trainer.strategy.reduce
        put_state(checkpoint, self.network, self.averages(), self._others(), self.shape)
        measured = self.trainer.callback_metrics.items()
        checkpoint["diffexp"] |= {
            "config": self.config,
            "step": self.global_step,
            "ranks": self.trainer.world_size,
            "autoencoder": self.config.get("autoencoder", {}).get("network"),
            "results": {name[4:]: float(value) for name, value in measured if name.startswith("val/")},
            "meter": self.meter.state(lambda sums: reduce(sums, reduce_op="sum")),
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        path = Path(str(self.trainer.ckpt_path or ""))
        take_state(checkpoint, self.network, self.averages(), self._others(), self.shape, path)
        checkpoint["state_dict"] = self.state_dict()  # it is in place: Lightning has nothing left to do
        self.meter.restore(checkpoint["diffexp"].get("meter"), self.global_rank)
