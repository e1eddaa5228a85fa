"""Locks between processes, also on file systems of clusters that have none."""

import errno
import fcntl
import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from diffexp.errors import DiffexpError
from diffexp.files import descriptor_to_append
from diffexp.notice import warn

_NO_LOCKS = {errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOLCK}


class Busy(Exception):
    """Another process holds the lock. The text says which: process, machine and time."""


_held: set[int] = set()  # descriptors of locks, which a forked child must not keep


def _forget_locks() -> None:
    for number in _held:
        with suppress(OSError):
            os.close(number)
    _held.clear()


os.register_at_fork(after_in_child=_forget_locks)


@contextmanager
def locked(path: Path, wait: bool = False) -> Iterator[None]:
    """Hold the lock of a file, made if it is not there; `wait` for whoever holds it, else raise Busy.

    It ends with this process, however that ends, and its forked children do not inherit it. Where the file
    system has no locks the file says who is at work: a process of this machine that is alive is respected,
    and it is said that machines are not kept apart. Raises DataError for a link, OSError.
    """
    while True:
        number = descriptor_to_append(path)
        _held.add(number)
        try:
            try:
                kept = lock(number, wait)
            except BlockingIOError:
                raise Busy(_holder(number)) from None
            if not kept and _alive(_holder(number)):
                raise Busy(_holder(number))
            if not _is_still(path, number):  # whoever held it has removed the file
                continue
            if not kept:
                warn(f"this file system has no locks: let no other machine work in {path.parent}")
            _sign(number)
            yield
            return
        finally:
            if number in _held:  # not in a forked child, where another file may have this number
                _held.discard(number)
                os.close(number)


def busy(path: Path) -> bool:
    """Return whether a process holds the lock of a file; False for no such file, or one that is not ours to
    read. Nothing is made or written.
    """
    try:
        number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(number, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in _NO_LOCKS or _alive(_holder(number))
    else:
        return False
    finally:
        os.close(number)


def lock(number: int, wait: bool = True) -> bool:
    """Lock an open file; return False where the file system has no locks. Raises BlockingIOError, OSError."""
    for attempt in (fcntl.flock, fcntl.lockf):  # some file systems have one, some the other
        for tries in range(10, -1, -1):
            try:
                attempt(number, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
                return True
            except OSError as error:
                if error.errno in _NO_LOCKS:
                    break
                if error.errno not in (errno.EAGAIN, errno.EACCES):
                    raise
                if not tries:
                    raise BlockingIOError from error
                time.sleep(0.02)  # a child that was just forked may have it for a moment
    return False


def _is_still(path: Path, number: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(number))
    except FileNotFoundError:
        return False


def _holder(number: int) -> str:
    return os.pread(number, 500, 0).decode("utf-8", "replace").strip() or "unknown"


def _sign(number: int) -> None:
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    with suppress(OSError):  # a full disk: the lock holds without its text
        os.ftruncate(number, 0)
        os.write(number, f"process {os.getpid()} on {socket.gethostname()} since {since}\n".encode())


def _alive(holder: str) -> bool:
    """Return whether the process that a lock file names runs on this machine, and is not this one."""
    words = holder.split()
    if len(words) < 4 or words[0] != "process" or words[3] != socket.gethostname():
        return False
    try:
        number = int(words[1])
        os.kill(number, 0)
    except PermissionError:
        return True
    except (ValueError, OverflowError, ProcessLookupError):
        return False
    return number != os.getpid()


@contextmanager
def one_at_a_time(path: Path) -> Iterator[None]:
    """Hold a lock file, waiting for whoever has it; go on at once where no lock can be had, as in a folder
    that is only read.
    """
    with ExitStack() as held:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            held.enter_context(locked(path, wait=True))
        except (OSError, DiffexpError):
            pass
        else:
            # before it is given free: those who wait have it open, and will find what was made
            held.callback(_remove, path)
        yield


def _remove(path: Path) -> None:
    with suppress(OSError):  # left in a folder that cannot be written to any more, it hinders nobody
        path.unlink()
