"""Random command lines: a valid run, or one clear message and exit code 2, and nothing is left behind."""

from pathlib import Path

import pytest
from commands import CONF
from forked import forked
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

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
    "on_divergence", "resume", "task.ckpt", "task.n", "task.images", "task.label", "data.text",
    "nothing.here", "hydra.job.chdir",
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


class Lines:
    """Answers command lines, each in its own process and its own folder; dry_run, so that nothing is
    trained.
    """

    def __init__(self, where: Path):
        self.where, self.count = where, 0

    def __call__(self, typed):
        """What is wrong with the answer, or None."""
        self.count += 1
        folder = self.where / str(self.count)
        folder.mkdir()
        code, text = forked([*typed, "dry_run=true", "logger=none"], folder, self.where / f"{self.count}.txt")
        left = [p.name for p in folder.iterdir()]
        for wrong, what in (
            (code is None, "no answer in a minute"),
            (code not in (0, 2, 3, 5), f"exit {code}"),  # 3, 5: a file not there, a network too large
            ("Traceback" in text or "HYDRA_FULL_ERROR" in text, "a traceback"),
            (bool(code) and not text.startswith("error: "), "no error:"),
            (left, f"left behind: {left}"),
        ):
            if wrong:
                return f"{what}: {typed}\n{text[:500]}"
        return None


def run(lines, count):
    @settings(
        max_examples=count, deadline=None, derandomize=True, database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    )  # fmt: skip
    @given(st.lists(OVERRIDE, min_size=1, max_size=3))
    def each(typed):
        wrong = lines(typed)
        assert wrong is None, wrong

    each()
    return lines.count


@pytest.mark.parametrize("count", [12, pytest.param(2000, marks=pytest.mark.slow)])
def test_any_command_line_is_answered(tmp_path, count):
    assert run(Lines(tmp_path), count) >= count
