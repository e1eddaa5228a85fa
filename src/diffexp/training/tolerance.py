"""Tolerance of failures beside the training: of a metric, a picture or a tracker, which do not end it."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from diffexp.errors import Interrupted, ResourceError
from diffexp.notice import say
from diffexp.training.place import Moved

MOST = 3
_log = logging.getLogger(__name__)


class Tolerance:
    """Count the failures of one thing; `MOST` in a row end the run with exit code 5."""

    def __init__(self, what: str, do: str) -> None:
        self.what, self.do, self.failed, self._row = what, do, 0, 0

    @contextmanager
    def __call__(self, step: int) -> Iterator[None]:
        try:
            yield
        except (Interrupted, Moved):
            raise
        except Exception as error:
            self.fail(step, error)
        else:
            self._row = 0

    def fail(self, step: int, error: Exception) -> None:
        """Count and log one more. Raises ResourceError when it is too many."""
        self.failed, self._row = self.failed + 1, self._row + 1
        first = (str(error) or "no text").splitlines()[0]
        message = f"{self.what} failed at step {step}: {type(error).__name__}: {first}"
        _log.error(message, exc_info=error)
        if self._row >= MOST:
            what = f"{self.what} failed {self._row} times in a row; the last: {type(error).__name__}: {first}"
            raise ResourceError(what, f"step {step}", self.do) from error
        say(f"{message}; training goes on, the traceback is in the log")
