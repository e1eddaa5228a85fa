"""Trackio: one database of all runs, looked at without an account."""

import io
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from diffexp.training.tracker import OneRun, TrackedRun, id_in, markdown, needs, results_table


class Trackio(OneRun):
    """Trackio, where it has its database: TRACKIO_DIR, or its place in the person's cache.

    project: its. group: of runs that belong together; None for the name of the run.
    """

    words = "trackio"

    def __init__(self, project: str = "diffexp", group: str | None = None) -> None:
        needs("trackio")
        super().__init__()
        self.project, self.group = project, group

    def begin(
        self, folder: Path, name: str, kind: str, tags: Sequence[str], config: Mapping[str, Any]
    ) -> TrackedRun:
        import trackio

        made = id_in(folder / "trackio" / "id", "trackio")
        with redirect_stdout(io.StringIO()):  # it says how to look at it, as we do at the end
            run = trackio.init(
                project=self.project,
                name=f"{name}-{folder.name}-{made}",
                group=self.group or name,
                config={**config, "kind": kind, "tags": list(tags)},
                resume="allow",
                embed=False,
                auto_log_gpu=False,
                auto_log_cpu=False,
            )
        return TrackioRun(run, folder)


class TrackioRun(TrackedRun):
    """A run of trackio, `run`. A run that goes on logs the steps after its checkpoint again."""

    def __init__(self, run: Any, folder: Path) -> None:
        self.run, self.folder = run, folder

    def log(self, values: Mapping[str, Any], step: int | None = None) -> None:
        self.run.log(dict(values), step=step)

    def image(self, key: str, path: Path, step: int | None = None) -> None:
        import trackio

        self.log({key: trackio.Image(str(path))}, step)

    def summary(self, values: Mapping[str, float], cards: Mapping[str, Any]) -> None:
        import trackio

        numbers = {f"results/{key}": value for key, value in values.items()}
        self.log({**numbers, "results": trackio.Markdown(results_table(values, cards))})

    def table(self, key: str, head: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        import trackio

        self.log({key: trackio.Markdown(markdown(head, rows))})

    def alert(self, title: str, text: str, stopped: bool = False) -> None:
        import trackio

        self.run.alert(title, text, level=trackio.AlertLevel.WARN if stopped else trackio.AlertLevel.ERROR)

    def look(self) -> Sequence[tuple[str, Path]]:
        from trackio.utils import TRACKIO_DIR

        return [(f"trackio: trackio show --project {self.run.project}, of", TRACKIO_DIR)]

    def close(self, failed: bool) -> None:
        import trackio

        with redirect_stdout(io.StringIO()):
            trackio.finish()
