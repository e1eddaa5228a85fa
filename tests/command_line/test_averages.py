"""task.ema: which average of the weights is sampled, by its place or its decay."""

import json

import pytest
import torch
from commands import QUICK, composed

from diffexp.errors import ConfigError
from diffexp.model.restore import restore


@pytest.fixture(scope="module")
def averaged(tmp_path_factory):
    """A run with three averages."""
    from diffexp.tasks.run import run_job

    folder = tmp_path_factory.mktemp("averaged") / "run"
    overrides = [*QUICK, "ema.decays=[0.5,0.9,0.99]", "ema.warmup=false", f"dir={folder}"]
    cfg, choices = composed(overrides)
    run_job(cfg, folder, overrides, choices)
    return folder


def test_each_is_that_of_the_checkpoint(averaged):
    held = torch.load(averaged / "checkpoints" / "last.ckpt", weights_only=True)
    for ema, of in ((True, 0), (0, 0), (1, 1), (2, 2), (0.5, 0), (0.99, 2)):
        state = restore(averaged, ema).model.state_dict()
        assert all(torch.equal(state[name], value) for name, value in held["ema"][of].items()), ema
    raw = restore(averaged, False).model.state_dict()
    assert all(torch.equal(raw[name], value) for name, value in held["trained"].items())
    assert restore(averaged, 0.9).model.weights == "average of decay 0.9"


def test_a_sweep_over_them_keeps_no_other_than_was_asked_for(averaged, job):
    """True is 1 and False is 0 for Python, and none of them may give the other's weights."""

    def fid(ema):
        folder = job("task=evaluate", f"task.ckpt={averaged}", f"task.ema={ema}", folder=f"e{ema}")
        return json.loads((folder / "run.json").read_text())["results"]["fid_digits64"]

    first, zeroth, second, raw = fid("true"), fid("0"), fid("1"), fid("false")
    assert first == zeroth and len({first, second, raw}) == 3
    assert fid("0.9") == second


def test_an_export_holds_and_names_the_one(averaged, job):
    out = job("task=export", f"task.ckpt={averaged}", "task.ema=0.9", folder="exported")
    restored = restore(out)
    want = restore(averaged, 1).model.state_dict()
    assert all(torch.equal(value, want[name]) for name, value in restored.model.state_dict().items())
    assert restored.model.weights == "average of decay 0.9"


@pytest.mark.parametrize(("ema", "said"), [(3, "has no average 3"), (0.7, "has no average 0.7"), (-1, "-1")])
def test_one_that_is_not_there(averaged, ema, said):
    with pytest.raises(ConfigError, match=said) as raised:
        restore(averaged, ema)
    assert "0 (decay 0.5), 1 (decay 0.9), 2 (decay 0.99)" in str(raised.value)
    assert raised.value.where == "task.ema"


def test_one_of_a_guide_is_named_by_the_key_of_guidance(averaged, job):
    with pytest.raises(ConfigError, match="has no average 7, but 0") as raised:
        job("task=sample", f"task.ckpt={averaged}", "guidance=auto", "guidance.scale=2", "guidance.ema=7")
    assert raised.value.where == "guidance.ema"
    assert raised.value.do.startswith(
        "type guidance.ema=2, a decay such as guidance.ema=0.5, or guidance.ema=null"
    )


def test_a_run_without_averages(job):
    folder = job(*QUICK, "ema.decays=[]")
    with pytest.raises(ConfigError, match="holds no averages"):
        restore(folder, 1)
