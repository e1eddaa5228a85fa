"""Files that are whole or not there, in folders that a stranger may have filled.

Such a folder may hold links where we are about to write. So a new file is made under a name that nobody can
guess, by O_EXCL | O_NOFOLLOW, and moved to its place, which replaces a link and never follows it; a file that
grows is opened by O_NOFOLLOW, and must be a regular file with one name.
"""

import errno
import hashlib
import io
import json
import os
import secrets
import shutil
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from diffexp.errors import DataError, ResourceError

_NO_SYNC = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EBADF, errno.EACCES}
_JSON_BYTES = 64 << 20


def digest(path: Path) -> str:
    """Return the sha256 of a file, in hexadecimal."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def create(path: Path) -> IO[bytes]:
    """Open a new file for writing. Raises FileExistsError where anything has that name, a link as well."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.fdopen(os.open(path, flags, 0o666), "wb")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a new name beside `path` to write to; at the end what was written there takes the place of `path`.

    After an exception nothing of it is left. The name is for a writer that opens files by itself; nobody else
    can know it.
    """
    part = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
    try:
        yield part
        _as_ours(part)
        os.replace(part, path)
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise


def _as_ours(part: Path) -> None:
    """Give a file of another writer, who has made it for the person alone, the mode of the umask."""
    if part.is_file() and stat.S_IMODE(part.stat().st_mode) == 0o600:
        with suppress(OSError), create(probe := part.with_suffix(".mode")) as new:
            probe.unlink()
            os.chmod(part, stat.S_IMODE(os.fstat(new.fileno()).st_mode))


def link_or_copy(source: Path, target: Path) -> None:
    """Give a file a second name, which keeps its content when `source` is replaced; make a copy where the
    file system has no such names. Raises OSError.
    """
    with suppress(OSError):
        if not source.is_symlink():
            return os.link(source, target)
    with open_regular(source) as file, replacing(target) as part, create(part) as copy:
        shutil.copyfileobj(file, copy)


def write(path: Path, content: str | bytes) -> None:
    """Write a whole file or nothing; its folder must be there. Raises ResourceError."""
    data = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
    try:
        with replacing(path) as part, create(part) as file:
            file.write(data)
            flush(file)
    except OSError as error:
        do = "free some disk, or make the folder writable"
        raise ResourceError(f"cannot be written: {error.strerror or error}", str(path), do) from error


def point(link: Path, target: str) -> bool:
    """Make a symbolic link, in place of another one; return whether it was made: nothing else of that name is
    replaced, and some file systems have no links.
    """
    try:
        if link.is_symlink() or not link.exists():
            with replacing(link) as part:
                part.symlink_to(target)
            return True
    except OSError:
        pass
    return False


def overwrite(path: Path, texts: Sequence[str]) -> bool:
    """Write the first of the texts that fits over what is in a file, filled up with blanks, as a disk that is
    full still allows; return whether one did.
    """
    flags = os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        number = os.open(path, flags)
    except OSError:
        return False
    with os.fdopen(number, "wb", buffering=0) as file, suppress(OSError):
        there = os.fstat(number)
        if not stat.S_ISREG(there.st_mode) or there.st_nlink > 1:
            return False
        for text in texts:
            data = text.encode("utf-8", "surrogatepass")
            if len(data) <= there.st_size:
                return file.write(data.ljust(there.st_size)) == there.st_size
    return False


def open_to_append(path: Path) -> IO[bytes]:
    """Open a file that grows, as `descriptor_to_append` does: to write at its end, and to read."""
    return os.fdopen(descriptor_to_append(path), "a+b")


def descriptor_to_append(path: Path) -> int:
    """Return the descriptor of a file that grows, made if it is not there.

    Raises DataError for a link, for what is no regular file, and for a file that has a second name (which may
    be that of another file of the same person); OSError as open does.
    """
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    what = "this is a link, a second name of another file, or no file at all, and is not written to"
    refused = DataError(what, str(path), "remove it, or take another folder with dir=...")
    try:
        number = os.open(path, flags, 0o666)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO, errno.EISDIR):
            raise refused from error
        raise
    there = os.fstat(number)
    if not stat.S_ISREG(there.st_mode) or there.st_nlink > 1:
        os.close(number)
        raise refused
    return number


def make_folder(path: Path) -> None:
    """Make a folder inside one of ours. Raises DataError for a link in its place, OSError as mkdir does."""
    if path.is_symlink():
        do = "remove the link, or take another folder with dir=..."
        raise DataError("this is a link, and nothing is written through it", str(path), do)
    path.mkdir(parents=True, exist_ok=True)


def flush(file: IO[bytes]) -> bool:
    """Have what was written survive a power failure; return False where the file system cannot do that."""
    file.flush()
    return _synced(file.fileno())


def sync_folder(path: Path) -> bool:
    """Have what was moved into a folder survive a power failure; return False where that cannot be done."""
    try:
        number = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    except PermissionError:  # a folder that may be written to, and not listed
        return False
    try:
        return _synced(number)
    finally:
        os.close(number)


def _synced(number: int) -> bool:
    try:
        os.fsync(number)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise
        return False
    return True


def open_regular(path: Path) -> io.BufferedReader:
    """Open a regular file to read. Raises DataError for a pipe, a socket or a device, which could keep us
    waiting for ever or never end; OSError as open does.
    """
    number = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(number).st_mode):
        os.close(number)
        raise DataError("this is a pipe, a device or a folder, and no file", str(path), "remove it")
    return os.fdopen(number, "rb")


def read_small(path: Path, most: int) -> bytes:
    """Return the content of a regular file. Raises DataError for more than `most` bytes, OSError."""
    with open_regular(path) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise DataError(f"this file has more bytes than {most:,}", str(path), "use another, or remove it")
    return content


def lines(path: Path) -> list[str]:
    """Return the lines of a text file; bytes that are no UTF-8 become U+FFFD.

    Lines end at a line feed and nowhere else: str.splitlines would also break a caption or a message at
    U+0085 or U+2028. Raises OSError.
    """
    with open_regular(path) as file:
        return file.read().decode("utf-8", "replace").split("\n")


def json_rows(path: Path) -> list[dict[str, Any]]:
    """Return the JSON objects of a file with one in each line; [] for no file.

    Lines that are anything else are left out: the power may have failed in the middle of one. Raises OSError.
    """
    return _rows(lines(path) if path.exists() else [])


def _rows(texts: Sequence[str]) -> list[dict[str, Any]]:
    rows = []
    for text in texts:
        with suppress(ValueError, RecursionError):
            if isinstance(row := json.loads(text), dict):
                rows.append(row)
    return rows


def last_rows(path: Path, most: int = 1 << 16) -> list[dict[str, Any]]:
    """Return the JSON objects in the last bytes of a file; [] for a link, or no file. Raises OSError."""
    if path.is_symlink() or not path.is_file():
        return []
    with open_regular(path) as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - most))
        return _rows(file.read().decode("utf-8", "replace").split("\n"))


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object of a file. Raises DataError for anything else, OSError for no such file."""
    content = read_small(path, _JSON_BYTES)
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise DataError(f"this file is cut short or damaged: {error}", str(path), "remove it") from error
    if not isinstance(value, dict):
        raise DataError("this file holds no JSON object", str(path), "remove it")
    return value
