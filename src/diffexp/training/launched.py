"""Ranks that Lightning starts die with the process that started them, at whatever moment that dies.

Else those that still load, or wait for the first rank, would sleep until torch's time-out, with their memory.
"""

import contextlib
import ctypes
import os
import signal

_LAUNCHER = "DIFFEXP_LAUNCHER"


def launching() -> None:
    """Note this process as the one that starts ranks, if it does; before it starts them."""
    if os.environ.get("LOCAL_RANK", "0") == "0":
        os.environ[_LAUNCHER] = str(os.getpid())


def die_with_launcher() -> None:
    """Have a rank that was started so be killed when its parent dies, and end now if that has died before."""
    launcher = os.environ.get(_LAUNCHER)
    if launcher is None or os.environ.get("LOCAL_RANK", "0") == "0":
        return
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # Linux: PR_SET_PDEATHSIG
    if str(os.getppid()) != launcher:
        os._exit(1)
