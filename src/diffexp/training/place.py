"""The place of a run folder, known by more than its path: one that is moved away is not made again."""

import os
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from diffexp.errors import ResourceError


class Moved(ResourceError):
    """The run folder is no longer where it was."""


class Place:
    """Hold a folder open from its beginning to its end: wherever it is moved, it can be written to."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self._number = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def check(self) -> None:
        """Raise Moved where something else, or nothing, is at the path now."""
        where = "an unknown place"
        with suppress(OSError):
            where = os.readlink(self.now())
        try:
            if os.path.samestat(os.stat(self.path), os.fstat(self._number)):
                return
            if where == os.path.realpath(self.path):  # some file systems number a folder anew
                return
        except (FileNotFoundError, NotADirectoryError):
            pass
        except OSError:  # out of reach for a moment: the next write fails, if it is for longer
            return
        what = f"the run folder was moved while the run was at work, to {where}"
        do = "move it back and type the same command again, or resume=FOLDER with its new place"
        raise Moved(what, str(self.path), do)

    def now(self) -> Path:
        """Return a path that leads to the folder wherever it is."""
        return Path(f"/proc/self/fd/{self._number}")

    def __enter__(self) -> "Place":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._number)
