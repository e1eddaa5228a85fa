"""diffexp: experiments on denoising diffusion models.

    import diffexp
    from diffexp.samplers import DDIM
    model = diffexp.load("runs/digits/2026-01-01_00-00-00")
    images = diffexp.sample(model, 30, DDIM(steps=25), classes=[3, 8], scale=2.0)
    diffexp.grid(images)

Everything is loaded when it is first named, so `import diffexp` costs nothing.
"""

from importlib import import_module, metadata
from typing import Any

_ROOMS = (
    "adapters", "codecs", "comparison", "conditioning", "config", "data", "diffusion", "doctor", "metrics",
    "model", "networks", "report", "run", "samplers", "sweep", "tasks", "training",
)  # fmt: skip
_WHERE = {"load": "model.restore", "sample": "samplers", "grid": "pictures"}
__all__ = ["__version__", *_ROOMS, *_WHERE]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return metadata.version("diffexp")
    if name in _WHERE:
        return getattr(import_module(f"diffexp.{_WHERE[name]}"), name)
    if name in _ROOMS:
        return import_module(f"diffexp.{name}")
    raise AttributeError(f"diffexp has no {name}")


def __dir__() -> list[str]:
    return __all__
