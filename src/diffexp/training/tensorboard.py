"""TensorBoard: event files in the run folder."""

import os
import time
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from PIL import Image

from diffexp.files import create, make_folder
from diffexp.training.tracker import OneRun, TrackedRun, markdown, needs, results_table


class TensorBoard(OneRun):
    """TensorBoard, in tensorboard/ of the run folder."""

    words = "TensorBoard"

    def __init__(self) -> None:
        needs("tensorboard")
        super().__init__()

    def begin(
        self, folder: Path, name: str, kind: str, tags: Sequence[str], config: Mapping[str, Any]
    ) -> TrackedRun:
        make_folder(folder / "tensorboard")
        about = [["name", name], ["kind", kind], *(tag.partition("=")[::2] for tag in tags)]
        return TensorBoardRun(folder / "tensorboard", markdown(["run", ""], about))


class TensorBoardRun(TrackedRun):
    """Scalars, pictures and texts, each written at once: a run that is killed keeps all of them. A run that
    goes on writes another file, which TensorBoard reads as the rest of the same curves. about: of the run.
    """

    def __init__(self, folder: Path, about: str) -> None:
        self.folder, self._about, self._after, self._step = folder, about, -1, 0
        self._file: Any = None

    def log(self, values: Mapping[str, float], step: int | None = None) -> None:
        self._step = self._step if step is None else step
        scalars = {k: float(v) for k, v in values.items() if k != "epoch"}
        self._write(*(self._value(tag=k, simple_value=v) for k, v in scalars.items()))

    def image(self, key: str, path: Path, step: int | None = None) -> None:
        self._step = self._step if step is None else step
        with Image.open(path) as image:
            width, height = image.size
        png = _proto("summary").Summary.Image(
            height=height, width=width, encoded_image_string=path.read_bytes()
        )
        self._write(self._value(tag=key, image=png))

    def summary(self, values: Mapping[str, float], cards: Mapping[str, Any]) -> None:
        self.log({f"results/{key}": value for key, value in values.items()})
        self._write(_text("results", results_table(values, cards)))

    def table(self, key: str, head: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        self._write(_text(key, markdown(head, rows)))

    def cut(self, step: int) -> None:
        self._after = step

    def look(self) -> Sequence[tuple[str, Path]]:
        return [("TensorBoard: tensorboard --logdir", self.folder)]

    def close(self, failed: bool) -> None:
        if self._file is not None:
            self._file.close()

    def _write(self, *values: Any) -> None:
        if self._file is None:
            self._begin()
        self._event(step=self._step, summary=_proto("summary").Summary(value=values))

    def _begin(self) -> None:
        from tensorboard.summary.writer.record_writer import RecordWriter

        name = f"events.out.tfevents.{time.time_ns():020d}.{os.getpid()}"
        self._file = RecordWriter(create(self.folder / name))
        self._event(file_version="brain.Event:2")
        # TensorBoard forgets what it has of this step and later ones
        start = _proto("event").SessionLog(status=_proto("event").SessionLog.START)
        self._event(step=self._after + 1, session_log=start)
        self._write(_text("run", self._about))

    def _value(self, **what: Any) -> Any:
        return _proto("summary").Summary.Value(**what)

    def _event(self, **what: Any) -> None:
        self._file.write(_proto("event").Event(wall_time=time.time(), **what).SerializeToString())
        self._file.flush()


def _proto(name: str) -> Any:
    """Return a module of TensorBoard's messages, whose classes no type checker knows."""
    return import_module(f"tensorboard.compat.proto.{name}_pb2")


def _text(key: str, text: str) -> Any:
    from tensorboard.plugins.text.summary import text_pb

    return text_pb(key, text).value[0]
