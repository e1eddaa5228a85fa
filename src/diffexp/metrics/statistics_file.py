"""Statistics of real images in a .npz of pytorch-fid, EDM or task=stats, judged before they are used."""

import math
import zipfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from diffexp.errors import DataError
from diffexp.metrics.statistics import Statistics

UNKNOWN = 1e6  # images, where a file does not say how many
ROUNDING = 1e-5  # of the covariance's Frobenius norm: many are made in float32
_HEADER_BYTES = 64 << 10
_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def read_statistics(path: str, dim: int) -> Statistics:
    """Read mu, (dim,), and sigma, (dim, dim), and n, if there. Never unpickles; reads no array of another
    shape. Raises DataError for what is no mean and covariance of `dim` features.
    """
    file, do = Path(path).expanduser(), "give a .npz with mu and sigma, of the features of the same extractor"
    if file.suffix in (".pkl", ".pickle"):
        what = "a pickle is not read: whoever wrote it could have any program run"
        do = "save its mu and sigma as a .npz: numpy.savez(FILE, mu=..., sigma=...)"
        raise DataError(what, str(file), do)
    try:
        if not file.is_file():
            raise FileNotFoundError("there is no such file")
        with zipfile.ZipFile(file) as archive:
            mean = _array(archive, "mu", (dim,))
            covariance = _array(archive, "sigma", (dim, dim))
            n = float(_array(archive, "n", ()).item()) if "n.npy" in archive.namelist() else UNKNOWN
    except Exception as error:  # OSError, KeyError, ValueError for pickles, BadZipFile, zlib.error, ...
        raise DataError(f"these statistics cannot be read: {error}", str(file), do) from error
    if fault := _fault(mean, covariance, n):
        raise DataError(fault, str(file), do)
    count = torch.tensor(n, dtype=torch.float64)
    return Statistics.of(count, n * mean, (n - 1) * covariance + n * torch.outer(mean, mean))


def has_images(path: str) -> bool:
    """Return whether a .npz holds images alone, as ADM's samples do, and no statistics of them."""
    try:
        with zipfile.ZipFile(Path(path).expanduser()) as archive:
            names = set(archive.namelist())
    except (OSError, zipfile.BadZipFile):
        return False
    return "mu.npy" not in names and bool({"arr_0.npy", "images.npy"} & names)


def _array(archive: zipfile.ZipFile, name: str, want: tuple[int, ...]) -> Tensor:
    """Read an array as float64. Raises ValueError before that for another shape, or no real numbers."""
    part = archive.getinfo(f"{name}.npy")
    if part.file_size > 16 * math.prod(want) + _HEADER_BYTES:
        raise ValueError(f"{name} has {part.file_size:,} bytes, too many for shape {want}")
    with archive.open(part) as raw:
        version = np.lib.format.read_magic(raw)
        if version not in _HEADERS:
            raise ValueError(f"{name} is of version {version} of numpy's format")
        shape, _, dtype = _HEADERS[version](raw)
    if dtype.kind not in "fiu":
        raise ValueError(f"{name} is {dtype}, which are no real numbers")
    if shape != want and not (want == () and shape == (1,)):
        wanted = f"and the extractor {want[0]} features" if want else "not of one number"
        raise ValueError(f"{name} has shape {shape}, {wanted}")
    with archive.open(part) as raw:
        array = np.lib.format.read_array(raw, allow_pickle=False)
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float64))


def _fault(mean: Tensor, covariance: Tensor, n: float) -> str:
    for name, values in (("mu", mean), ("sigma", covariance)):
        bad = int((~values.isfinite()).sum())
        if bad:
            return f"{bad} of {values.numel()} numbers in {name} are not finite"
        if values.abs().max() > 1e100:
            return f"{name} has numbers up to {float(values.abs().max()):.0e}"
    if not 2 <= n <= 1e15:
        return f"n={n:g} is no number of images that have a covariance"
    size = torch.linalg.matrix_norm(covariance)
    if (covariance - covariance.T).abs().max() > ROUNDING * size:
        return "sigma is not symmetric, so it is no covariance"
    shifted = covariance + ROUNDING * size * torch.eye(len(mean), dtype=torch.float64)
    if size > 0 and torch.linalg.cholesky_ex(shifted).info:
        return "sigma has a direction of negative variance, so it is no covariance"
    return ""
