"""Two images through all parts of a model, before it is trained: what a part of one's own does wrong is said
then, and not at the first evaluation, hours later.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from diffexp.data.batch import Batch
from diffexp.errors import ConfigError, DiffexpError
from diffexp.metrics.evaluator import Evaluator
from diffexp.model.model import Model


@torch.no_grad()
def probe(model: Model, evaluator: Evaluator, batch: Batch) -> None:
    """Encode, condition, predict, guide, and decode a batch on the CPU. Raises ConfigError, which names the
    part that fails or returns something else than it has to. No random number is drawn from torch.
    """
    n = len(batch.image)
    with _part("codec.encode"):
        x = model.codec.encode(batch.image)
    _expect("codec.encode", x, (n, *model.latent_shape), torch.float32)
    with _part("conditioning.encode"):
        cond = model.condition(batch.asked)
    for name in ("label", "vector", "tokens", "mask", "image"):
        value = None if cond is None else getattr(cond, name)
        if value is not None and len(value) != n:
            raise _wrong("conditioning.encode", f"a {name} of {len(value)} rows for {n} images")
    guidance = evaluator.guidance
    with _part("conditioning.null"):
        cond = model.condition(batch.asked, guided=guidance.scale != 1)
    t = torch.tensor(0.5, dtype=torch.float64)
    with _part("network"):
        model.denoiser(x, t, cond)
    with _part("guidance.wrap"):
        guided = guidance.wrap(model)(x, t, cond).x0
    _expect("guidance.wrap", guided, tuple(x.shape), None)
    with _part("guidance.calls"):
        int(guidance.calls(t, model.denoiser.schedule).sum())
    with _part("codec.decode"):
        back = model.codec.decode(x)
    _expect("codec.decode", back, tuple(batch.image.shape), torch.uint8)


@contextmanager
def _part(name: str) -> Iterator[None]:
    try:
        yield
    except DiffexpError:
        raise
    except Exception as error:  # of code that is not ours: any type
        first = (str(error) or "no text").splitlines()[0]
        raise _wrong(name, f"{type(error).__name__}: {first[:200]}") from error


def _expect(name: str, value: object, shape: tuple[int, ...], dtype: torch.dtype | None) -> None:
    if not isinstance(value, Tensor):
        raise _wrong(name, f"{type(value).__name__} in place of a tensor")
    if tuple(value.shape) != shape or dtype not in (None, value.dtype):
        wanted = f"{shape}" if dtype is None else f"{dtype} {shape}"
        raise _wrong(name, f"{value.dtype} {tuple(value.shape)} in place of {wanted}")


def _wrong(name: str, what: str) -> ConfigError:
    do = "see docs/extend.md for what it has to return"
    return ConfigError(f"{name} does not do what it has to: {what}", name.partition(".")[0], do)
