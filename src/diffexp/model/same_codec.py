"""Whether the codec that is read is the one that a run was trained with, or one of the same latents."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from diffexp.archive import is_dict, is_list
from diffexp.codecs import Codec
from diffexp.config.suggest import override
from diffexp.errors import DataError
from diffexp.model.trainable import LATENTS, same_latents
from diffexp.notice import warn


def check_codec(
    what: str,
    source: str,
    base: Mapping[str, str],
    expected: Mapping[str, Any],
    path: Path,
    config: Mapping[str, Any],
) -> None:
    """Raise DataError for a codec with another encoder, or of which the run knows no encoder; say it where
    the decoder alone is another. source: its file.
    """
    option, key, before = _place_of_codec(config)
    if same_latents(base, expected):
        trained = "" if before in (None, source) else f", {before}"
        warn(f"{source} has another decoder than the autoencoder of the run{trained}, and the same encoder")
        return
    do = f"put the file back that it was trained with: {source}"
    if before not in (None, source):
        what = f"{what}: {source} is typed, and it was trained with {before}"
        do = _typed(option, key, before)
    if "codec" in expected and LATENTS not in expected:
        do += f"; before it takes another decoder, export it with that: task=export task.ckpt={path}"
    raise DataError(what, str(path), do)


def check_latents(
    codec: Codec,
    shape: tuple[int, int, int],
    learned: Mapping[str, Any],
    config: Mapping[str, Any],
    path: Path,
) -> None:
    """Raise DataError where the latents of images of that shape are of another size than those that a run was
    trained in. learned: what its codec has measured.
    """
    now, before, channels = list(codec.latent(shape)), learned.get("latent"), learned.get("channels")
    if before in (None, now) and channels in (None, 0, now[0]):
        return
    trained = "x".join(map(str, before)) if is_list(before) else f"{channels} channels"
    what = f"the run was trained in latents of {trained}, and {codec.source} makes {'x'.join(map(str, now))}"
    option, key, place = _place_of_codec(config)
    raise DataError(what, str(path), _typed(option, key, place) if place else "put its autoencoder back")


def _typed(option: str, key: str, place: str) -> str:
    """Return what to type for the codec that a run was trained with."""
    return f"type {shlex.join([f'codec={option}', override(f'codec.{key}', place)])}"


def _place_of_codec(config: Mapping[str, Any]) -> tuple[str, str, str | None]:
    """Return the option of a run's codec, the key of its file, and that file, None for none of ours."""
    nodes = config.get("model")
    node = nodes.get("codec") if is_dict(nodes) else None
    for option, key in (("autoencoder", "ckpt"), ("autoencoder_diffusers", "path")):
        if is_dict(node) and isinstance(place := node.get(key), str):
            return option, key, place
    return "", "", None
