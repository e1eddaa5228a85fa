"""Trackers of one's own: of today, of yesterday (W&B's run, or something like it), and one that fails."""

import os
import signal
from dataclasses import dataclass
from pathlib import Path

from diffexp.training.tracker import TrackedRun

calls = []


class Recorded(TrackedRun):
    def __init__(self, stop_at):
        self.stop_at = stop_at

    def log(self, values, step=None):
        calls.append(("log", step, set(values)))
        if step == self.stop_at:
            os.kill(os.getpid(), signal.SIGTERM)

    def image(self, key, path, step=None):
        calls.append(("image", key, path.name, step))

    def summary(self, values, cards):
        calls.append(("summary", set(values), set(cards)))

    def alert(self, title, text, stopped=False):
        calls.append(("alert", title, text, stopped))

    def cut(self, step):
        calls.append(("cut", step))

    def look(self):
        return [("recorded in", Path("somewhere"))]


@dataclass
class Recorder:
    stop_at: int | None = None

    def open(self, folder, name, kind, tags, config):
        calls.append(("open", name, kind, "sampler=ddim" in tags, config["seed"]))
        return Recorded(self.stop_at)

    def close(self, failed=False):
        calls.append(("close", failed))


class Before:
    """As trackers were before there was TrackedRun: `open` gives what W&B's run is like."""

    def __init__(self):
        self.summary = {}

    def open(self, folder, name, kind, tags, config):
        calls.append(("open", kind))
        return self

    def close(self, failed=False):
        calls.append(("close", failed, sorted(self.summary)))

    def log(self, values):
        calls.append(("log", values.get("trainer/global_step"), set(values)))


class Shut:
    """It cannot even be opened."""

    def open(self, folder, name, kind, tags, config):
        raise OSError("the door is locked")

    def close(self, failed=False):
        raise OSError("the door is locked")


class Broken(Before):
    def log(self, values):
        raise OSError("no room for it")

    @property
    def summary(self):
        raise OSError("no room for it")

    @summary.setter
    def summary(self, value):
        pass
