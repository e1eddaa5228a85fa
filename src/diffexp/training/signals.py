"""Signals that ask a training to stop: it ends its step, saves, and says how to go on."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

ASKING = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)


@contextmanager
def deaf() -> Iterator[None]:
    """Ignore signals while a run ends: they come too late, and would cost its last words (not Ctrl-C)."""
    before: dict[int, Any] = {}
    try:
        for number in ASKING:
            if number != signal.SIGINT:
                before[number] = signal.signal(number, signal.SIG_IGN)
    except ValueError:  # not the main thread, which alone hears signals
        pass
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


class Signals:
    """`heard` is the name of the first signal since `listen`, or None. A second Ctrl-C stops at once.

    A signal that is ignored stays ignored: the jobs of a sweep leave Ctrl-C to their launcher.
    """

    def __init__(self) -> None:
        self.heard: str | None = None
        self._before: dict[int, Any] = {}

    def listen(self) -> None:
        """Listen from now on. Only the main thread of a process hears signals; in others nothing happens."""
        for number in ASKING:
            if signal.getsignal(number) is signal.SIG_IGN or number in self._before:
                continue
            try:
                self._before[number] = signal.signal(number, self._hear)
            except ValueError:
                return

    def leave(self) -> None:
        """Restore the handlers that were there before."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if self.heard is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.heard = self.heard or signal.Signals(number).name
