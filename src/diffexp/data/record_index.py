"""The index of a data set on the disk: made once, by one process, whole or not there; made again when the
files that it is of have another size or time.

It lies in a cache of the person's own, never beside the files: a folder that anyone may have filled could
hold an index that leads elsewhere, and a folder that a checkpoint names is not to be written to.
"""

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from diffexp.data.records import Growing, Records
from diffexp.errors import DataError, ResourceError
from diffexp.files import make_folder, replacing
from diffexp.hub import at
from diffexp.locks import one_at_a_time
from diffexp.notice import say, warn
from diffexp.progress import counting

FORMAT = 1
Progress = Callable[[int, int], None]
Fill = Callable[[Growing, Path | None, Progress], Sequence[str]]
"""Called with an empty index, the path of a pack and the progress: adds all pictures, and returns the names
of classes whose order is given."""


class About(NamedTuple):
    """The subject of an index. kind: of its data set; root: where that lies; files: all that is read;
    options: what decides which pictures, classes and captions there are. packed: pictures are copied into one
    file.
    """

    kind: str
    root: Path
    files: Sequence[Path]
    options: dict[str, Any]
    packed: bool = False

    def name(self) -> str:
        """Return the name of the index: files may change under it, and it is made again."""
        told = json.dumps([FORMAT, self.kind, os.path.realpath(self.root), self.options], sort_keys=True)
        return hashlib.sha256(told.encode(errors="surrogateescape")).hexdigest()[:32]

    def text(self) -> str:
        """Return what the index holds of the files: their paths, sizes and times. Raises DataError."""
        rows = []
        for file in self.files:
            try:
                stat = file.stat()
            except OSError as error:
                what = f"this file cannot be read: {error.strerror}"
                raise DataError(what, str(file), "mend or remove it") from error
            rows.append([os.fsencode(file).hex(), stat.st_size, stat.st_mtime_ns])
        return json.dumps([FORMAT, self.kind, self.options, rows], sort_keys=True)


def indexed(about: About, cache: str, fill: Fill) -> tuple[Records, str]:
    """Return the index of some files, from the cache or made and written, and a digest of what it is of.

    Raises DataError as `fill` does, ResourceError where it cannot be written.
    """
    told, file = about.text(), at(cache) / f"{about.name()}.safetensors"
    digest = hashlib.sha256(told.encode()).hexdigest()
    if (records := _read(about, told, file)) is not None:
        return records, digest
    with one_at_a_time(file.with_suffix(".lock")):  # others wait, and find it
        if (records := _read(about, told, file)) is None:
            _make(about, told, file, fill)
            records = _read(about, told, file)
    if records is None:
        raise DataError("the index that was written is not there", str(file), "look at the disk")
    return records, digest


def _read(about: About, told: str, file: Path) -> Records | None:
    """Map the index; None for none, for one of other files, and for one that is damaged."""
    if not file.is_file():
        return None
    pack = file.with_suffix(".images") if about.packed else None
    try:
        with safe_open(file, "pt") as opened:
            metadata = opened.metadata() or {}
            if metadata.get("about") != told:
                warn(f"made again, for files have another size or time: the index of {about.root}")
                return None
            columns: dict[str, Tensor] = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        sources = [str(path) for path in about.files]
        records = Records(columns, json.loads(metadata["known"]), sources, pack and str(pack))
        held = [pack] if pack else about.files
        if records.check([path.stat().st_size for path in held]):
            return records
        why = "it leads out of the files"
    except Exception as error:  # of a foreign file: no common type
        why = str(error) or type(error).__name__
    warn(f"made again, for it is damaged: {file} ({why})")
    return None


def _make(about: About, told: str, file: Path, fill: Fill) -> None:
    what = f"the index of {about.root}"
    say(f"making {what}, {len(about.files):,} files, once")
    growing = Growing()
    try:
        make_folder(file.parent)
        with ExitStack() as held, counting(what) as progress:
            packing = about.packed
            pack = held.enter_context(replacing(file.with_suffix(".images"))) if packing else None
            order = fill(growing, pack, progress)
            if not len(growing):
                what = "there is no picture in these files"
                raise DataError(what, str(about.root), "look at what they hold")
        columns, known = growing.finished(order)
        with replacing(file) as part:
            save_file(columns, part, {"about": told, "known": json.dumps(known)})
    except OSError as error:
        do = "type data.cache=FOLDER for another place, or free some disk"
        raise ResourceError(
            f"the index cannot be kept: {error.strerror or error}", str(file.parent), do
        ) from error
    say(f"{len(growing):,} pictures in it")
