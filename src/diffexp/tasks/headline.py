"""What is said before a training begins."""

from diffexp.condition import Asked
from diffexp.training.data_module import DataModule
from diffexp.training.module import DiffusionModule


def headline(module: DiffusionModule, loader: DataModule) -> str:
    """Return a line on what is about to be trained, and one on each thing that its captions lose."""
    millions = sum(p.numel() for p in module.denoiser.network.parameters()) / 1e6
    counts = ", ".join(f"{len(loader.data.split(s)):,} {s}" for s in ("train", "val", "test"))
    channels, height, width = loader.shape
    size = f"{height}x{width}x{channels}"
    maps = ", ".join(getattr(module.denoiser.network, "maps", ()))
    levels = f", maps of {maps}" if maps else ""
    line = f"{loader.name}: {size} images, {counts}; network of {millions:.2f} M parameters{levels}"
    texts = loader.texts if "text" in module.model.conditioning.asks else None
    remarks = module.model.conditioning.remarks(Asked(len(texts), text=tuple(texts))) if texts else []
    return "\n".join([line, *remarks])
