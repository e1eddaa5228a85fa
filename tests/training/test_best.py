"""best.ckpt is the checkpoint of the best evaluation, also over a resumption."""

import json
from types import SimpleNamespace

import pytest
import torch
from commands import QUICK

from diffexp.model.checkpoint import read_checkpoint
from diffexp.training import Best


class Evaluations:
    """Tells a callback what an evaluation has found; notes when it saves."""

    def __init__(self, best):
        self.best, self.saved, self.callback_metrics, self.global_step = best, [], {}, 0

    def save_checkpoint(self, path, weights_only):
        self.saved.append(self.global_step)

    def __call__(self, key, *values):
        for value in values:
            self.global_step += 1
            self.callback_metrics[key] = torch.tensor(value)
            self.best.on_validation_end(self, SimpleNamespace())


@pytest.mark.parametrize(
    "metric, highest, key, saved",
    [
        ("val/fid", False, "val/fid_digits64", [1, 3, 6]),
        ("val/accuracy", True, "val/accuracy_svm", [1, 2, 7]),
        ("val/kid", False, "val/fid_digits64", []),
    ],
)
def test_only_a_better_one_is_written(metric, highest, key, saved):
    told = Evaluations(Best("folder", metric, highest))
    told(key, 5.0, 6.0, 4.0, 4.0, float("nan"), 3.0, 7.0)
    assert told.saved == saved


def test_what_was_best_is_remembered():
    first = Evaluations(Best("folder"))
    first("val/fid_x", 5.0, 3.0)
    second = Evaluations(Best("folder"))
    second.best.load_state_dict(first.best.state_dict())
    second("val/fid_x", 4.0, 2.0)
    assert second.saved == [2]


def test_a_run_keeps_its_best(tmp_path):
    from commands import composed

    from diffexp.tasks.run import run_job

    quick = [a for a in QUICK if not a.startswith(("evaluator.every", "trainer.max_steps"))]
    typed = [*quick, "evaluator.every=1", "trainer.max_steps=70", f"dir={tmp_path / 'run'}"]
    cfg, choices = composed(typed)
    run_job(cfg, tmp_path / "run", typed, choices)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    fids = {line["step"] + 1: line["val/fid_digits64"] for line in lines if "val/fid_digits64" in line}
    best = read_checkpoint(tmp_path / "run" / "checkpoints" / "best.ckpt")
    assert len(fids) == 3 and best["global_step"] == min(fids, key=fids.get)
