"""evidence.npz: what an evaluation keeps of its images, so that another can be compared with it.

`KEY/without`: a number without each part of the images, the same parts in every evaluation: 80 bytes, however
many features there are. `KEY/each`: what each image adds to a mean: 8 bytes an image, less when packed.
"""

import io
import json
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from diffexp.errors import DataError
from diffexp.files import open_regular, write

NAME = "evidence.npz"
MOST = 256 << 20  # bytes of arrays: 60 values of 500,000 images
_ABOUT, _FORMAT = "about", 1


@dataclass(frozen=True)
class Evidence:
    """arrays: float64, by KEY/without or KEY/each; pairing: seed and shape of the noise, a digest of the
    classes and captions asked for, the number of images.
    """

    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)
    pairing: Mapping[str, Any] = field(default_factory=dict)


def save(folder: Path, evidence: Evidence) -> None:
    """Write evidence.npz, if there is anything to keep; that of an earlier evaluation goes. Raises
    ResourceError.
    """
    if not evidence.arrays:
        with suppress(OSError):
            (folder / NAME).unlink()
        return
    packed, about = io.BytesIO(), {"format": _FORMAT, "pairing": dict(evidence.pairing)}
    parts = {name: np.asarray(values, dtype=np.float64) for name, values in evidence.arrays.items()}
    np.savez_compressed(packed, **{_ABOUT: np.frombuffer(json.dumps(about).encode(), np.uint8)}, **parts)  # type: ignore[arg-type]
    write(folder / NAME, packed.getvalue())


def load(folder: Path) -> Evidence | None:
    """Read evidence.npz; None where there is none: an older run. Raises DataError; nothing is unpickled."""
    path = folder / NAME
    if path.is_symlink() or not path.exists():
        return None
    try:
        with open_regular(path) as file, zipfile.ZipFile(file) as archive:
            if sum(part.file_size for part in archive.infolist()) > MOST:
                raise ValueError(f"it unpacks to more than {MOST:,} bytes")
            parts = {name.removesuffix(".npy"): _array(archive, name) for name in archive.namelist()}
        about = json.loads(parts.pop(_ABOUT).astype(np.uint8).tobytes())
        if not isinstance(about, dict) or about.get("format") != _FORMAT:
            raise ValueError(f"it is of another format than {_FORMAT}")
        pairing = about.get("pairing")
        return Evidence(parts, pairing if isinstance(pairing, dict) else {})
    except Exception as error:  # of zipfile, zlib, numpy and json: their kinds have no common type
        do = "measure again, or remove the file: the comparison is then unpaired"
        raise DataError(f"this evidence cannot be read: {error}", str(path), do) from error


def _array(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    with archive.open(name) as raw:
        array = np.lib.format.read_array(raw, allow_pickle=False)
    if array.ndim != 1 or array.dtype.kind not in "fu":
        raise ValueError(f"{name} is {array.dtype} of {array.ndim} dimensions, not a row of numbers")
    return array
