"""Random command lines: a valid run, or one clear message and exit code 2, and nothing is left behind."""

import contextlib
import io
import os
import shutil
import sys

import pytest
from commands import CONF
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from diffexp.experiment import cli

GROUPS = {
    folder.name: sorted(path.stem for path in folder.glob("*.yaml"))
    for folder in sorted(CONF.iterdir())
    if folder.is_dir() and folder.name not in ("hydra", "experiment", "data")
}
KEYS = [
    "sampler.steps", "sampler.eta", "sampler.spacing", "sampler.order", "schedule.T", "schedule.start",
    "network.channels", "network.channel_mult", "network.groups", "optimizer.lr", "lr.warmup", "ema.decays",
    "guidance.scale", "guidance.interval", "clip.quantile", "metrics.n", "evaluator.every",
    "evaluator.scales", "loader.batch_size", "loader.flip", "trainer.max_steps", "model.clip_norm",
    "model.bpd_terms",    "seed",
    "precision", "name", "objective.vlb", "weighting.gamma", "times.mean", "terms.lpips", "snr.shift",
    "prediction.sigma_data", "variance._target_", "logger.mode", "callbacks.checkpoint.every", "plugins",
    "on_divergence", "resume", "task.ckpt", "task.n", "nothing.here", "hydra.job.chdir",
]  # fmt: skip
VALUES = st.one_of(
    st.integers(-(10**12), 10**12).map(str),
    st.floats(allow_nan=True, allow_infinity=True).map(repr),
    st.sampled_from([
        "", "null", "true", "false", "[]", "{}", "[1,2]", "[1,'a']", "{a:1}", "???", "'", "\"", "[", "}",
        "a b", "${seed}", "${nothing}", "${oc.env:NOTHING}", "0", "-1", "1", "2", "1e-3", "hat", "model",
        "trailing",
        "os.system", "diffexp.diffusion.Eps", "ü", "\u202e", "x" * 300,
    ]),
    st.text(max_size=12),
)  # fmt: skip
OVERRIDE = st.one_of(
    st.sampled_from(list(GROUPS)).flatmap(
        lambda group: st.sampled_from([*GROUPS[group], "none_such"]).map(lambda option: f"{group}={option}")
    ),
    st.tuples(st.sampled_from(["", "", "", "+", "++", "~"]), st.sampled_from(KEYS), VALUES).map(
        lambda parts: f"{parts[0]}{parts[1]}={parts[2]}"
    ),
    st.text(min_size=1, max_size=20).filter(lambda text: not text.startswith("-")),
)


def answered(typed):
    """(exit code, what was said) of a command line, in this process; dry_run, so that nothing is trained."""
    said, before, argv = io.StringIO(), dict(os.environ), sys.argv
    sys.argv = ["run.py", *typed, "dry_run=true", "logger=none"]
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            code = cli.main(CONF)
    finally:
        sys.argv = argv
        os.environ.clear()
        os.environ.update(before)
    return code, said.getvalue()


def look(typed, where):
    code, said = answered(typed)
    assert code in (0, 2, 3, 5), (typed, code, said)  # 3, 5: a file that is not there, a network too large
    assert "Traceback" not in said, (typed, said)
    if code:
        assert said.startswith("error: "), (typed, said)
        assert "HYDRA_FULL_ERROR" not in said, (typed, said)
    left = [p for p in where.iterdir() if p.name != ".hypothesis"]
    for path in left:  # or the next one would be blamed
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert left == [], typed


@pytest.mark.slow  # and Hydra leaves its own logging behind in this process
def test_any_command_line_is_answered(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.environ["WANDB_MODE"] = "offline"

    @settings(
        max_examples=2000, deadline=None, derandomize=True, database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    )  # fmt: skip
    @given(st.lists(OVERRIDE, min_size=1, max_size=3))
    def each(typed):
        look(typed, tmp_path)

    each()
