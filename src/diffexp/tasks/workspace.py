"""task=workspace: define the page of W&B that shows runs and sweeps here, not by hand.

`workspace(...)` gives wandb-workspaces' object; the task writes what would be sent as workspace.json, and
sends it when W&B is online.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from diffexp.config.suggest import path_of
from diffexp.errors import ConfigError, DataError
from diffexp.escape import first_line
from diffexp.files import write
from diffexp.report.table import metrics_of, read
from diffexp.run.console import near, say
from diffexp.run.folder import Record
from diffexp.run.job import Job, Task
from diffexp.run.plan import read_plan
from diffexp.training.wandb import Wandb

LOG = ("fid", "loss", "error")  # metrics on a logarithmic axis
QUARTERS, BINS = range(1, 5), range(1, 7)
LINES = {
    "training": {
        "loss": ["train/loss", "val/loss"],
        "gradient norm": ["train/grad_norm"],
        "learning rate": ["train/lr"],
        "images a second": ["train/images_per_s"],
        "bits/dim": ["val/bpd"],
    },
    "by noise level": {
        "error by quarter of t": [f"by_t/mse_q{q}" for q in QUARTERS],
        "bits by quarter of t": [f"by_t/vlb_q{q}" for q in QUARTERS],
        "gradient by quarter of t": [f"by_t/gradient_q{q}" for q in QUARTERS],
        "error by log SNR": [f"by_snr/mse_{b}" for b in BINS],
    },
}


@dataclass(frozen=True)
class Workspace(Task):
    """sweep: its folder, whose keys and metrics get plots of their own; metrics: those of the runs."""

    sweep: str | None = None
    metrics: tuple[str, ...] = ("fid_digits64", "accuracy_svm")
    tracked: ClassVar[bool] = False

    def check(self, job: Job) -> None:
        tracker = job.build("logger")
        if not isinstance(tracker, Wandb):
            raise ConfigError("a workspace is one of W&B", "logger", "type logger=wandb")
        try:
            import wandb_workspaces  # noqa: F401
        except ImportError as error:
            do = "pip install 'diffexp[workspaces]'"
            raise ConfigError("wandb-workspaces is not installed", "task", do) from error
        if self.sweep is not None:
            read_plan(path_of(self.sweep, "task.sweep"))

    def run(self, job: Job, record: Record) -> None:
        tracker: Wandb = job.build("logger")
        keys: list[str] = []
        metrics = list(self.metrics)
        if self.sweep is not None:
            snapshot = read(path_of(self.sweep, "task.sweep"))
            metrics = metrics_of(snapshot)
            # a group varies by its option, which is beside its values in the configuration
            groups = job.choices or {}
            keys = [f"choices.{key}" if key in groups else key for key in snapshot.plan["varying"]]
        made = workspace(_entity(tracker), tracker.project, metrics, keys)
        path = job.folder / "workspace.json"
        write(path, made._to_model().model_dump_json(by_alias=True, exclude_none=True, indent=1))
        record.results["workspace"] = str(path)
        say(f"workspace: {near(path)}")
        if tracker.mode == "online":
            _send(made, record)
        else:
            say("to send it, after wandb login: the same with logger.mode=online logger.entity=NAME")


def _entity(tracker: Wandb) -> str:
    """Return whose it is: logger.entity, or that of whoever has logged in."""
    import wandb

    if tracker.entity is not None or tracker.mode != "online":
        return tracker.entity or "entity"
    try:
        return str(wandb.Api(timeout=5).default_entity)
    except Exception as error:  # without a key, or a network: no common type
        do = "wandb login, or give logger.entity=NAME"
        raise ConfigError(f"W&B does not say whose workspace it is ({error})", "logger.entity", do) from error


def workspace(entity: str, project: str, metrics: Sequence[str], keys: Sequence[str]) -> Any:
    """Build the page: sections for the metrics over steps, samples, what varies against the metrics,
    training, and the loss by noise level. Runs are grouped as sweeps are.
    """
    ws, wr = _library()

    def lines(title: str, names: Sequence[str], log: bool = False) -> Any:
        return wr.LinePlot(title=title, x="Step", y=list(names), log_y=log or None)

    plain = list(dict.fromkeys(name.partition("@")[0] for name in metrics if "/" not in name))
    quality = [lines(name, [f"val/{name}"], name.startswith(LOG)) for name in plain]
    pictures: list[Any] = [wr.MediaBrowser(media_keys=["val/samples", "samples"])]
    sections = [
        ws.Section(name="quality", panels=quality, is_open=True),
        ws.Section(name="samples", panels=pictures, is_open=True),
    ]
    if keys:
        sections.append(ws.Section(name="sweep", panels=_of_sweep(metrics, keys), is_open=True))
    for name, plots in LINES.items():
        panels = [lines(title, of, title.startswith(LOG)) for title, of in plots.items()]
        sections.append(ws.Section(name=name, panels=panels))
    return ws.Workspace(
        entity=entity,
        project=project,
        name="diffexp",
        sections=sections,
        runset_settings=ws.RunsetSettings(groupby=[ws.Metric("Group")]),
    )


def _library() -> tuple[Any, Any]:
    """Import wandb-workspaces, which warns of its own code when it is imported."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import wandb_workspaces.reports.v2 as wr
        import wandb_workspaces.workspaces as ws
    return ws, wr


def _of_sweep(metrics: Sequence[str], keys: Sequence[str]) -> list[Any]:
    _, wr = _library()
    axis = wr.interface.ParallelCoordinatesPlotColumn
    axes = [axis(metric=wr.Config(key)) for key in keys]
    axes += [axis(metric=wr.SummaryMetric(name), log=name.startswith(LOG) or None) for name in metrics]
    across = wr.ParallelCoordinatesPlot(columns=axes)
    bars = [wr.BarPlot(title=name, metrics=[name], groupby=wr.Config(keys[-1])) for name in metrics]
    return [across, *bars, wr.WeavePanelSummaryTable(table_name="cells")]


def _send(made: Any, record: Record) -> None:
    import wandb

    try:
        if not wandb.login(prompt=False):
            raise ConnectionError("no API key")
        record.results["url"] = made.save().url
    except Exception as error:  # of requests, of the service: no common type
        reason = first_line(error) or type(error).__name__
        raise DataError(f"W&B did not take the workspace ({reason})", "logger", "wandb login") from error
    say(f"sent: {record.results['url']}")
