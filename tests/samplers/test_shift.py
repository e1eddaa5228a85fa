"""sampler.shift and snr.shift=auto: more noise for larger images."""

import math

import pytest
import torch
from commands import QUICK, composed

from diffexp.diffusion import cosine, flow, linear
from diffexp.diffusion.resolution import shift_between, shift_of
from diffexp.errors import ConfigError
from diffexp.run.shift import settle_shift
from diffexp.samplers import DDIM, DPMSolver
from diffexp.tasks.run import run_job


@pytest.mark.parametrize("schedule", [cosine(), linear(), flow()])
def test_the_ratio_of_noise_to_signal_is_shifted(schedule):
    plain = DDIM(steps=10, spacing="sgm_uniform").grid(schedule)[1:-1]
    moved = DDIM(steps=10, spacing="sgm_uniform", shift=1.7).grid(schedule)
    assert torch.allclose(schedule(moved[1:-1]).ratio, 1.7 * schedule(plain).ratio, rtol=1e-9)
    assert moved[0] == 1 and moved[-1] == 0


def test_on_the_straight_path_it_is_the_map_of_sd3():
    """t' = s t / (1 + (s - 1) t), between the steps of the chain as linear as its angles are."""
    t = DDIM(steps=25, snap=False).grid(flow())
    moved = DDIM(steps=25, snap=False, shift=3.0).grid(flow())
    assert torch.allclose(moved, 3 * t / (1 + 2 * t), atol=1e-5)


def test_a_solver_that_counts_its_own_steps_is_shifted_too():
    plain, moved = (DPMSolver(steps=9, shift=s).grid(cosine()) for s in (1.0, 2.0))
    assert len(plain) == len(moved) and (moved[1:-1] > plain[1:-1]).all()


def test_automatic_is_one_where_nobody_asks_for_another_size():
    assert torch.equal(DDIM(steps=7, shift="auto").grid(cosine()), DDIM(steps=7).grid(cosine()))


@pytest.mark.parametrize("bad", [0, -1.0, math.inf, math.nan, "large"])
def test_what_is_no_shift(bad):
    with pytest.raises(ConfigError, match=r"sampler.shift=.*\n.*\n.*positive number"):
        DDIM(shift=bad)


def test_shifts_of_sizes():
    assert shift_of((3, 256, 256)) == 4 and shift_of((128, 32)) == 1 and shift_of((1, 8, 8)) == 1
    assert shift_between((3, 48, 96), (3, 32, 32)) == pytest.approx(math.sqrt(4.5))


def test_the_schedule_of_a_training_has_the_number(capsys):
    cfg, _ = composed(["data=folder", "data.path=photos", "data.size=[128,512]", "snr.shift=auto"])
    settle_shift(cfg)
    assert cfg.snr.shift == 4
    assert "snr.shift=4 for images of 128x512: √pixels / 64" in capsys.readouterr().out
    cfg, _ = composed(
        ["data=folder", "data.path=photos", "snr.shift=auto", "codec=autoencoder", "codec.ckpt=a"]
    )
    with pytest.raises(ConfigError, match="these are latents"):
        settle_shift(cfg)


def test_images_of_another_size_are_sampled_on_a_shifted_grid(tmp_path):
    def done(line, folder):
        cfg, choices = composed(line)
        return run_job(cfg, folder, line, choices)

    done(["snr.shift=auto", *QUICK], tmp_path / "run")
    asked = [
        "task=sample",
        f"task.ckpt={tmp_path / 'run'}",
        "task.n=1",
        "sampler.steps=3",
        "sampler.shift=auto",
    ]
    assert "shift=2.0" in done([*asked, "task.size=16"], tmp_path / "large")["sampler"]
    assert "shift='auto'" in done(asked, tmp_path / "own")["sampler"]
