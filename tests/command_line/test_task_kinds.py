"""A task says by itself whether it trains, and not by its name."""

import sys
import textwrap

import pytest
from commands import QUICK, composed

from diffexp.errors import ConfigError
from diffexp.run.results import rows
from diffexp.sweep.cell import Cell
from diffexp.sweep.worker import perform
from diffexp.tasks.run import run_job


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package with a task that trains and is not called Train, and with one that has two methods alone."""
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "kinds_of_task.py").write_text(
        textwrap.dedent(
            """
            from dataclasses import dataclass
            from diffexp.tasks.train import Train

            @dataclass(frozen=True)
            class Finetune(Train):
                def run(self, job, record):
                    record.results["tuned"] = 1

            @dataclass(frozen=True)
            class Bare:
                def check(self, job):
                    pass

                def run(self, job, record):
                    record.results["bare"] = 1
            """
        )
    )
    monkeypatch.syspath_prepend(str(tmp_path / "lib"))
    yield
    sys.modules.pop("kinds_of_task", None)


def composed_for(name, folder, *typed):
    typed = [
        *QUICK,
        f"task._target_=kinds_of_task.{name}",
        "plugins=[kinds_of_task]",
        f"dir={folder}",
        *typed,
    ]
    return *composed(typed), typed


def test_a_task_that_trains_is_checked_with_its_trainer_whatever_it_is_called(package, tmp_path):
    cfg, choices, typed = composed_for("Finetune", tmp_path / "run")
    cfg.callbacks.checkpoint.every = "many"
    with pytest.raises(ConfigError, match=r"callbacks\.checkpoint\.every=many is not"):
        run_job(cfg, tmp_path / "run", typed, choices)
    cfg.callbacks.checkpoint.every = 6
    assert run_job(cfg, tmp_path / "run", typed, choices)["tuned"] == 1
    cfg, choices, typed = composed_for("Bare", tmp_path / "bare")
    cfg.callbacks.checkpoint.every = "many"
    assert run_job(cfg, tmp_path / "bare", typed, choices)["bare"] == 1


@pytest.mark.parametrize(("name", "spent"), [("Finetune", True), ("Bare", False)])
def test_its_process_in_a_sweep_does_no_other_job(package, tmp_path, monkeypatch, name, spent):
    from omegaconf import OmegaConf

    cfg, choices, typed = composed_for(name, tmp_path / "jobs" / "a")
    cell = Cell(
        "a", tuple(typed), OmegaConf.to_container(cfg, resolve=True), choices, tmp_path / "jobs" / "a"
    )
    monkeypatch.setattr(sys, "argv", ["run.py"])
    news = perform(tmp_path, cell, ("run.py",))
    assert (news.kind, news.spent) == ("done", spent)
    assert rows(tmp_path)["a"]["state"] == "done"
