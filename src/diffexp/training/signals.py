"""Signals that ask a training to stop: it ends its step, saves, and says how to go on."""

import signal
from types import FrameType
from typing import Any

ASKING = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)


class Signals:
    """`heard` is the name of the first signal since `listen`, or None. A second Ctrl-C stops at once.

    A signal that is ignored stays ignored: the jobs of a sweep leave Ctrl-C to their launcher.
    """

    def __init__(self) -> None:
        self.heard: str | None = None
        self._before: dict[int, Any] = {}

    def listen(self) -> None:
        """From now on. Only the main thread of a process hears signals; in others nothing happens."""
        for number in ASKING:
            if signal.getsignal(number) is signal.SIG_IGN or number in self._before:
                continue
            try:
                self._before[number] = signal.signal(number, self._hear)
            except ValueError:
                return

    def leave(self) -> None:
        """As it was before."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if self.heard is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.heard = self.heard or signal.Signals(number).name
