"""task=evaluate evaluator.drift=N: as the training has measured it, and over the scales of adapters."""

import pytest
from adapters.conftest import LINE, Runs, go
from commands import composed
from omegaconf import OmegaConf

from diffexp.errors import ConfigError
from diffexp.run.job import Job
from diffexp.tasks.evaluate import Evaluate

ASK = ["task=evaluate", "logger=none", "metrics=none", "evaluator.drift=24", "evaluator.pictures=8"]
KEYS = ("drift", "drift_pairs")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("drift")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(folder))
        yield Runs(folder)


def tuned(runs, *typed):
    """A folder, and what its training has measured."""
    line = [*LINE, f"init={runs.base()}", "optimizer.lr=0.05", "evaluator.drift=24", *typed]
    folder = runs.folder / f"tuned{len(typed)}"
    return folder, go(folder, *line)


@pytest.mark.parametrize("typed", [["tune=lora"], []])
def test_an_evaluation_measures_the_drift_of_the_training(runs, tmp_path, typed):
    """Of an adapted run and of one that is trained whole: the same number, with the same card."""
    run, trained = tuned(runs, *typed)
    made = go(tmp_path / "a", *ASK, f"task.ckpt={run}")
    assert made["drift_pairs"] > 1e-4
    assert [made[key] for key in KEYS] == pytest.approx([trained[key] for key in KEYS], rel=1e-4)
    assert made["cards"]["drift"]["base"] == trained["cards"]["drift"]["base"]
    assert made["cards"]["drift_pairs"]["n"] == 24


def test_a_scale_has_its_drift_and_scale_zero_has_none(runs, tmp_path):
    run, trained = tuned(runs, "tune=lora")
    line = [*ASK, f"task.ckpt={runs.base()}", f"task.adapters=[{run}]"]
    none, half, all_ = (go(tmp_path / f"{c}", *line, f"task.adapter_scales=[{c}]") for c in (0, 0.5, 1))
    assert none["drift_pairs"] == 0 and none["drift"] == pytest.approx(0, abs=1e-9)
    assert 0 < half["drift_pairs"] < all_["drift_pairs"]
    assert all_["drift_pairs"] == pytest.approx(trained["drift_pairs"], rel=1e-3)


def test_a_run_without_a_base_is_told_that_it_has_none(runs, tmp_path):
    said = r"has begun with no other, .*drift\n  at: evaluator.drift\n  do: .*drift=0"
    with pytest.raises(ConfigError, match=said):
        go(tmp_path / "x", *ASK, f"task.ckpt={runs.base()}")
    assert not (tmp_path / "x").exists()


def test_the_images_of_the_drift_count_as_calls(runs, tmp_path):
    run, _ = tuned(runs, "tune=lora")
    calls = []
    for drift in (0, 24):
        cfg, choices = composed([*ASK, f"task.ckpt={run}", f"evaluator.drift={drift}"])
        job = Job(OmegaConf.to_container(cfg, resolve=True), tmp_path, (), choices)
        calls.append(Evaluate(str(run)).network_calls(job))
    assert calls[1] - calls[0] == 24 * 3
