"""Images from a model. Each is drawn from noise of its own: the same one comes out of any batch."""

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from diffexp.condition import Asked
from diffexp.diffusion.clip import Clip, Static
from diffexp.diffusion.guidance import ClassifierFree, Guidance
from diffexp.model.ask import ask
from diffexp.model.model import Model
from diffexp.randomness import Noise
from diffexp.samplers.calls import check
from diffexp.samplers.sampler import Sampler


@contextmanager
def _evaluating(module: nn.Module) -> Generator[None]:
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
    asked: Asked | None = None,
    guidance: Guidance = ClassifierFree(),  # noqa: B008, frozen
    clip: Clip = Static(),  # noqa: B008, frozen
    seed: int = 0,
    batch_size: int = 256,
    device: torch.device | str = "cpu",
    on_batch: Callable[[int], None] | None = None,
    decode: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """The images numbered `index`, int64 (N,), as uint8 (N, C, H, W) on the CPU.

    asked: of each of them, see `ask`; None where the model is told nothing. on_batch: told how many images
    are done, after each batch. decode: makes images of x in place of the codec, and may leave them float.
    Raises ConfigError (see `check`), and DivergedError when an image is not
    finite.
    """
    check(model, sampler, guidance)
    done = list[Tensor]()
    with _evaluating(model):
        for i in torch.split(torch.arange(len(index)), batch_size):
            noise = Noise(seed, index[i], model.latent_shape, device)
            denoise, cond = model.denoise(guidance, clip, None if asked is None else asked[i].to(device))
            x = sampler.sample(denoise, model.denoiser.schedule, noise, cond)
            done.append((decode or model.codec.decode)(x).cpu())
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
    text: Sequence[str] | None = None,
    negative: str | None = None,
) -> Tensor:
    """Return n images, uint8 (n, C, H, W), of the classes or the captions in turn; scale: of classifier-free
    guidance, which goes away from `negative`, a caption, or from none.
    """
    asked = ask(model, n, classes, text, negative)
    device = next(model.denoiser.parameters()).device
    return generate(model, sampler, torch.arange(n), asked, ClassifierFree(scale), clip, seed, device=device)
