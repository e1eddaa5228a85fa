"""The members of a tar shard, by their headers alone, and the samples that they make.

WebDataset's rule: members that follow one another and have the same path up to the first dot of the name are
one sample (0017.jpg, 0017.txt, 0017.json). Its own index for reading by number (wids) says how many samples a
shard has, and has each process scan the shard; so Python's tarfile, which knows all kinds of headers, says
where each member begins, and that is kept.
"""

import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple, Self

from diffexp.errors import DataError
from diffexp.files import open_regular

BLOCK = 512
BESIDE = (b"L", b"K", b"x", b"g", b"X")  # types of headers that tell a name, or notes, of the next one
MOST_HEADER = 1 << 16  # bytes of one of these
PACKED = {  # by how they begin
    b"\x1f\x8b": ("gzip", ".gz", "gunzip"),
    b"BZh": ("bzip2", ".bz2", "bunzip2"),
    b"\xfd7zXZ": ("xz", ".xz", "unxz"),
    b"\x28\xb5\x2f\xfd": ("zstd", ".zst", "unzstd"),
}
AGAIN = "fetch or make it again, or type data.broken=skip to take what is whole"


class _Header(tarfile.TarInfo):
    """A header of a stranger's tar: what is told beside it is bounded, for tarfile searches it in time that
    grows with its square (CVE-2024-6232).
    """

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        header = super().frombuf(buf, encoding, errors)
        if header.type in BESIDE and header.size > MOST_HEADER:
            raise tarfile.ReadError(f"{header.size:,} bytes of a name or of notes, more than {MOST_HEADER:,}")
        return header


class Sample(NamedTuple):
    """A sample of a shard. parts: offset and size of each member, by what stands behind the first dot."""

    key: str
    parts: dict[str, tuple[int, int]]


def samples(path: Path, file: IO[bytes]) -> Iterator[Sample]:
    """Yield the samples of an open shard. Raises DataError where it is damaged, after all that are whole."""
    key, parts = None, dict[str, tuple[int, int]]()
    damage: DataError | None = None
    try:
        for name, offset, size in _members(path, file):
            folder, _, base = name.rpartition("/")
            stem, dot, suffix = base.partition(".")
            if not stem or not dot:
                continue
            own = f"{folder}/{stem}" if folder else stem
            if own != key:
                if key is not None:
                    yield Sample(key, parts)
                key, parts = own, {}
            if suffix.lower() in parts:
                raise DataError(f"{name[:200]} is in this shard twice", str(path), AGAIN)
            parts[suffix.lower()] = offset, size
    except DataError as error:
        damage = error
    if key is not None and damage is None:  # else of the last one something may be missing
        yield Sample(key, parts)
    if damage is not None:
        raise damage


def _members(path: Path, file: IO[bytes]) -> Iterator[tuple[str, int, int]]:
    """Yield name, offset and size of each file in a tar. Raises DataError for one that is cut short or
    damaged: it has to end with a block of zeros, where tarfile itself takes any end.
    """
    _check_plain(path, file.read(8))
    size = file.seek(0, 2)
    file.seek(0)
    try:
        with tarfile.open(fileobj=file, mode="r:", tarinfo=_Header) as tar:
            ended = 0
            while (member := tar.next()) is not None:
                tar.members = []  # type: ignore[attr-defined]  (it would keep all of them)
                if member.size < 0 or member.offset < ended or member.offset_data + member.size > size:
                    raise _cut(path, member.name)
                ended = member.offset_data
                if member.isdir():
                    continue
                if not member.isreg() or member.issparse():
                    do = "make the shard of plain files, without links and holes"
                    raise DataError(f"{member.name[:200]} is a link or no plain file", str(path), do)
                yield member.name, member.offset_data, member.size
            file.seek(tar.offset)
    except (tarfile.TarError, ValueError, OverflowError) as error:
        raise _cut(path, str(error)) from error
    if file.read(BLOCK) != bytes(BLOCK):
        raise _cut(path, "it has no end")


def _cut(path: Path, why: str) -> DataError:
    return DataError(f"this shard is cut short or damaged: {why[:200]}", str(path), AGAIN)


def _check_plain(path: Path, begin: bytes) -> None:
    for magic, (kind, suffix, tool) in PACKED.items():
        if begin.startswith(magic):
            raise packed(path, kind, f"mv {path} {path}{suffix} && {tool} {path}{suffix}")


def packed(path: Path, kind: str, do: str) -> DataError:
    """Return the error for a compressed shard."""
    what = f"this shard is compressed by {kind}, so that no picture in it can be read by its number"
    return DataError(what, str(path), f"type: {do}")


def first_sample(path: Path) -> Sample | None:
    """Return the first sample of a shard, None where it has none. Raises DataError."""
    with open_regular(path) as file:
        return next(samples(path, file), None)
