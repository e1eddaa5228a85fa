"""init=RUN: a run begins with the weights of another, and says which."""

import pytest
import torch
from commands import QUICK, composed

import diffexp
from diffexp.errors import DataError
from diffexp.model.begin import begin
from diffexp.model.checkpoint import read_checkpoint
from diffexp.model.trainable import Full
from diffexp.tasks.run import run_job


def run(folder, *typed):
    typed = [*typed, f"dir={folder}"]
    cfg, choices = composed(typed)
    run_job(cfg, folder, typed, choices)
    return read_checkpoint(folder / "checkpoints" / "last.ckpt")


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    folder = tmp_path_factory.mktemp("first") / "run"
    return folder, run(folder, *QUICK, "optimizer.lr=0.01")


def test_all_weights_are_taken_where_the_network_is_the_same(first, tmp_path, capsys):
    """With a rate next to nothing they are those of the other run's average, in the average as well."""
    folder, told = first
    still = [*QUICK, "optimizer.lr=1e-30", "optimizer.weight_decay=0", "trainer.max_steps=1"]
    begun = run(tmp_path / "second", *still, f"init={folder}")
    assert f"beginning with all weights of {folder}" in capsys.readouterr().out
    for state in (begun["trained"], begun["ema"][0]):
        assert state.keys() == told["ema"][0].keys()
        for name, value in state.items():
            torch.testing.assert_close(value, told["ema"][0][name], rtol=0, atol=1e-7)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            ["conditioning=none", "guidance.scale=1"],
            ["\n  not used: denoiser.network.embedding.label.weight\n"],
        ),
        (["network.scale_shift=true"], ["of another size there: denoiser.network.embedding.tell.weight, "]),
        (["network.blocks=2"], ["\n  begun anew: denoiser.network.down.1.0.norm1.weight, ", " more\n"]),
    ],
)
def test_of_another_network_what_fits_is_taken_and_the_rest_is_named(first, tmp_path, capsys, change, said):
    typed = [*QUICK, "metrics=none", *change, "trainer.max_steps=1", f"init={first[0]}"]
    own, theirs = run(tmp_path / "other", *typed)["trained"], first[1]["trained"]
    out = capsys.readouterr().out
    fitting = sum(n in theirs and theirs[n].shape == value.shape for n, value in own.items())
    count = "all" if own.keys() == theirs.keys() and fitting == len(own) else str(fitting)
    assert f"beginning with {count} weights of" in out and fitting > 0
    assert all(text in out for text in said)


def test_a_run_that_goes_on_does_not_begin_again(first, tmp_path, capsys):
    folder = tmp_path / "run"
    run(folder, *QUICK, f"init={first[0]}", "trainer.max_steps=3")
    capsys.readouterr()
    run(folder, *QUICK, f"init={first[0]}")
    out = capsys.readouterr().out
    assert "going on from step 3" in out and "beginning with" not in out


def test_what_does_not_fit_at_all_and_what_is_not_there_is_refused(first, tmp_path):
    with pytest.raises(DataError, match=r"no checkpoint .*\n  at: init"):
        run(tmp_path / "a", *QUICK, f"init={tmp_path / 'nowhere'}")
    assert not (tmp_path / "a").exists()
    model = diffexp.load(first[0])
    with pytest.raises(DataError, match="0 of the 4"):
        begin(model, Full(), first[0], {"transformer.weight": torch.zeros(3)})
