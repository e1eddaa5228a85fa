"""Images from a model. Each is drawn from noise of its own: the same one comes out of any batch."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from diffexp.diffusion.clip import Clip, Static
from diffexp.diffusion.guidance import ClassifierFree
from diffexp.errors import ConfigError
from diffexp.model.model import Model
from diffexp.randomness import Noise
from diffexp.samplers.calls import check
from diffexp.samplers.sampler import Sampler


def labels_for(n: int, classes: int | None, given: Sequence[int] | None = None) -> Tensor | None:
    """Labels for n images, int64 (n,): the given ones, or all, in turn, so that each is as frequent.

    Raises ConfigError for classes that there are not.
    """
    if classes is None:
        if given:
            what = f"classes={list(given)}, but the model was trained without classes"
            raise ConfigError(what, "task.classes", "leave task.classes away")
        return None
    chosen = torch.arange(classes) if given is None else torch.tensor(list(given), dtype=torch.int64)
    if not len(chosen) or not ((chosen >= 0) & (chosen < classes)).all():
        raise ConfigError(f"classes={chosen.tolist()}", "task.classes", f"choose from 0 to {classes - 1}")
    return chosen[torch.arange(n) % len(chosen)]


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    """Dropout is off meanwhile; each part is then left as it was."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training


@torch.no_grad()
def generate(
    model: Model,
    sampler: Sampler,
    index: Tensor,
    labels: Tensor | None = None,
    guidance: ClassifierFree = ClassifierFree(),  # noqa: B008, frozen
    clip: Clip = Static(),  # noqa: B008, frozen
    seed: int = 0,
    batch_size: int = 256,
    device: torch.device | str = "cpu",
    on_batch: Callable[[int], None] | None = None,
) -> Tensor:
    """The images numbered `index`, int64 (N,), as uint8 (N, C, H, W) on the CPU.

    labels: int64 (N,), for a model with classes. on_batch: told how many images are done, after each batch.
    Raises ConfigError (see Model.check), and DivergedError when an image is not finite.
    """
    check(model, sampler, guidance)
    denoise, done = model.guided(guidance, clip), []
    with _evaluating(model.denoiser):
        for i in torch.arange(len(index)).split(batch_size):
            noise = Noise(seed, index[i], model.shape, device)
            cond = None if labels is None else labels[i].to(device)
            x = sampler.sample(denoise, model.denoiser.schedule, noise, cond)
            done.append(model.codec.decode(x).cpu())
            if on_batch is not None:
                on_batch(int(i[-1]) + 1)
    return torch.cat(done)


def sample(
    model: Model,
    n: int,
    sampler: Sampler,
    classes: Sequence[int] | None = None,
    scale: float = 1.0,
    clip: Clip = Static(),  # noqa: B008, frozen
    seed: int = 0,
) -> Tensor:
    """n images, uint8 (n, C, H, W), of the given classes in turn; scale: of classifier-free guidance."""
    labels = labels_for(n, model.classes, classes)
    device = next(model.denoiser.parameters()).device
    return generate(model, sampler, torch.arange(n), labels, ClassifierFree(scale), clip, seed, device=device)
