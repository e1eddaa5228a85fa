"""Files of adapters that say what cannot be, files that others write, and runs that are not there."""

import json
import os
import stat

import pytest
import torch
from adapters.conftest import LINE, go
from safetensors.torch import save_file

from diffexp.adapters.add import added
from diffexp.errors import ConfigError, DataError
from diffexp.files import replacing
from diffexp.model.restore import restore


def folder(path, **config):
    """A folder of peft: a LoRA of rank 2 of one layer, and what is said of it."""
    path.mkdir(exist_ok=True)
    state = {"lora_A": torch.ones(2, 1, 3, 3), "lora_B": torch.ones(8, 2, 1, 1)}
    named = {f"base_model.model.denoiser.network.conv_in.{name}.weight": v for name, v in state.items()}
    save_file(named, path / "adapter_model.safetensors")
    (path / "adapter_config.json").write_text(json.dumps({"lora_alpha": 2, **config}))
    return str(path)


@pytest.mark.parametrize("rank", [10**12, 20000, 0, -1, 2.0, "2", True, [2]])
def test_a_rank_that_cannot_be_is_refused(runs, tmp_path, rank):
    base = restore(runs.base())
    with pytest.raises(DataError, match=r"adapter_config\.json says the rank r=.*, where 1 to 16,384 can be"):
        added(base, [folder(tmp_path / "x", r=rank)], [1])


def test_a_rank_that_is_not_that_of_the_weights_is_refused(runs, tmp_path):
    base = restore(runs.base())
    with pytest.raises(DataError, match=r"says the rank r=64, and the weights have 2\n  at: .*safetensors"):
        added(base, [folder(tmp_path / "x", r=64)], [1])
    for config in ({"r": 2}, {}, {"r": 64, "rank_pattern": {"conv_in": 2}}):
        made = added(base, [folder(tmp_path / "x", **config)], [1]).model
        change = made.denoiser.network.conv_in.weight - base.model.denoiser.network.conv_in.weight
        assert change.allclose(torch.full_like(change, 2), atol=1e-6), (
            config
        )  # alpha/rank = 1, and two products


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600)])
def test_a_file_of_another_writer_has_the_mode_of_the_umask(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        with replacing(tmp_path / "x.safetensors") as part:
            save_file({"a": torch.ones(1)}, part)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "x.safetensors").stat().st_mode) == mode
    assert os.listdir(tmp_path) == ["x.safetensors"]


@pytest.mark.parametrize("there", [False, True])
def test_a_run_that_is_not_there_is_told_by_the_key_that_names_it(runs, tmp_path, there):
    if there:
        (tmp_path / "no").mkdir()
    no, base, sample = tmp_path / "no", runs.base(), ["task=sample", "logger=none", "task.n=2"]
    for key, typed in (
        ("init", [*LINE, f"init={no}"]),
        ("init", [*LINE, f"init={no}", "tune=lora"]),
        ("tune.base", [*LINE, f"init={base}", "tune=lora", f"tune.base={no}"]),
        ("task.adapters", [*sample, f"task.ckpt={base}", f"task.adapters=[{no}]"]),
        ("guidance.ckpt", [*sample, f"task.ckpt={base}", "guidance=auto", f"guidance.ckpt={no}"]),
        ("guidance.ckpt", [*sample, f"task.ckpt={base}", "guidance=classifier", f"guidance.ckpt={no}"]),
        ("task.ckpt", [*sample, f"task.ckpt={no}"]),
    ):
        with pytest.raises((DataError, ConfigError), match=rf"no.*\n  at: {key}\n"):
            go(tmp_path / "x", *typed)
