"""diffexp: experiments on denoising diffusion models.

The rooms are loaded when they are first named, so `import diffexp` costs nothing:

    import diffexp
    diffexp.diffusion.cosine()
"""

from importlib import import_module, metadata
from typing import Any

__all__ = ["__version__", "data", "diffusion", "experiment", "metrics", "networks", "samplers", "training"]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return metadata.version("diffexp")
    if name in __all__:
        return import_module(f"diffexp.{name}")
    raise AttributeError(f"diffexp has no {name}")


def __dir__() -> list[str]:
    return __all__
