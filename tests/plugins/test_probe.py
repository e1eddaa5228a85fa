"""Parts of one's own that do something wrong are named before the first step, not at an evaluation."""

import pytest

from plugins.conftest import QUICK, SMALL

CODEC = ["codec._target_=plugins.broken.BrokenCodec", *SMALL]
WORDS = ["conditioning=words", "network=reader", "conditioning._target_=plugins.broken.BrokenWords"]
WORDS += ["~conditioning.rows", "~conditioning.width", "~conditioning.longest"]
WRONG = " does not do what it has to: "
GUIDED = [*SMALL, "guidance._target_=plugins.broken.BrokenGuidance", "guidance.scale=2"]


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (
            [*CODEC, "+codec.how=size"],
            "codec.decode{}torch.uint8 (2, 1, 8, 7) in place",
        ),
        ([*CODEC, "+codec.how=float"], "codec.decode{}torch.float32 (2, 1, 8, 8)"),
        (
            [*CODEC, "+codec.how=error"],
            "codec.decode{}ValueError: no decoder here",
        ),
        (
            [*CODEC, "+codec.how=double"],
            "codec.encode{}torch.float64 (2, 1, 8, 8)",
        ),
        (
            [*WORDS, "+conditioning.how=rows"],
            "conditioning.encode{}a tokens of 1 rows",
        ),
        ([*WORDS, "+conditioning.how=keep"], "keep(8, ...) returns a shape of (9,)"),
        (
            GUIDED,
            "guidance.wrap{}AttributeError: 'Tensor' object has no attribute 'x0'",
        ),
    ],
)
def test_a_broken_part_is_named_before_the_first_step(runs, tmp_path, typed, message):
    code, said = runs.type(*QUICK, *typed, f"dir={tmp_path / 'run'}")
    assert code == 2 and message.format(WRONG) in said and "Traceback" not in said
    assert "step 1/" not in said and not (tmp_path / "run" / "checkpoints").exists()
