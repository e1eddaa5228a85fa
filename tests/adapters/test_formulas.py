"""Adapters against their formulas, against peft's own model, and sums of them."""

import json

import pytest
import torch
from adapters.conftest import KINDS, LINE, SOME, go, held
from adapters.test_adapted_runs import answer
from safetensors.torch import load_file, save_file
from torch import nn

import diffexp
from diffexp.adapters.add import added, merged
from diffexp.adapters.formulas import by_layer, change
from diffexp.errors import ConfigError, DataError
from diffexp.model.restore import restore

ALPHA = {"lora": ["tune.alpha=6", "tune.rank_stabilised=true"], "loha": ["tune.alpha=6"]}  # s = 3, and 1.5


def written_out(kind, p, weight):
    """ΔW element by element, by the formulas of the papers."""
    shape, out = weight.shape, weight.shape[0]
    if kind == "loha":
        a, b = p["hada_w1_a"] @ p["hada_w1_b"], p["hada_w2_a"] @ p["hada_w2_b"]
        return torch.stack([a[i] * b[i] for i in range(out)]).view(shape)
    if kind == "lokr":
        c = p["lokr_w1"]
        d = p["lokr_w2"] if "lokr_w2" in p else p["lokr_w2_a"] @ p["lokr_w2_b"]
        rows = [torch.cat([c[i, j] * d for j in range(c.shape[1])], 1) for i in range(c.shape[0])]
        return torch.cat(rows, 0).reshape(shape)
    a, b = p["lora_A"].flatten(1), p["lora_B"].flatten(1)
    low = sum(torch.outer(b[:, r], a[r]) for r in range(len(a))).view(shape)
    if kind != "dora":
        return low
    whole, m = weight.double() + low, p["lora_magnitude_vector"].flatten()
    return torch.stack([m[i] * whole[i] / whole[i].norm() for i in range(out)]) - weight.double()


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_added_is_the_formula_and_what_peft_adds(runs, kind):
    restored = restore(runs.adapted(f"tune={kind}"))
    layers = by_layer(restored.tune.state(restored.model), restored.path)
    assert restored.tune.scale == 1 and layers
    for name, parts in layers.items():
        layer = restored.model.get_submodule(name)
        weight = layer.base_layer.weight.detach().clone()
        made = change(parts, weight, 1.0)
        torch.testing.assert_close(made, written_out(kind, parts, weight), rtol=1e-9, atol=1e-12)
        layer.merge()
        peft = layer.base_layer.weight.detach() - weight
        torch.testing.assert_close(made.float(), peft, rtol=1e-3, atol=2e-6)
        layer.unmerge()


@pytest.mark.parametrize("kind", SOME)
def test_merged_equals_unmerged_in_memory_and_in_an_exported_folder(runs, kind, tmp_path):
    run = runs.adapted(f"tune={kind}")
    here = answer(diffexp.load(run))
    plain = merged(restore(run)).model
    assert plain.state_dict().keys() == diffexp.load(runs.base()).state_dict().keys()
    torch.testing.assert_close(answer(plain), here, rtol=0, atol=1e-5)
    go(tmp_path / "whole", "task=export", f"task.ckpt={run}")
    assert torch.equal(answer(diffexp.load(tmp_path / "whole")), answer(plain))
    if kind == "lora":  # the folder is a base as well
        go(tmp_path / "again", *LINE, f"init={tmp_path / 'whole'}", "tune=lora", "trainer.max_steps=1")


@pytest.mark.parametrize("kind", SOME)
def test_peft_reads_what_is_exported_and_we_do(runs, kind, tmp_path):
    """Also without our own description beside it, as a file of peft's."""
    from peft import PeftModel

    run, base = runs.adapted(f"tune={kind}", *ALPHA.get(kind, [])), restore(runs.base())
    here = answer(diffexp.load(run))
    folder = tmp_path / "adapters"
    go(folder, "task=export", "task.merge=false", f"task.ckpt={run}")
    names = load_file(folder / "adapter_model.safetensors")
    assert (folder / "adapter_model.safetensors").stat().st_size < 400_000
    assert all(n.startswith("base_model.model.denoiser.network.") and "default" not in n for n in names)
    assert torch.equal(answer(diffexp.load(folder)), here)
    theirs = PeftModel.from_pretrained(diffexp.load(runs.base()), str(folder)).base_model.model
    torch.testing.assert_close(answer(theirs), here, rtol=0, atol=1e-6)
    for _ in range(2):
        torch.testing.assert_close(answer(added(base, [str(folder)], [1]).model), here, rtol=0, atol=1e-5)
        (folder / "config.json").unlink(missing_ok=True)


def test_sums_of_adapters(runs):
    base = restore(runs.base())
    a, b = str(runs.adapted("tune=lora")), str(runs.adapted("tune=loha"))
    at = {(one, two): added(base, [one, two], [1, 0.5]).model.state_dict() for one, two in ((a, b), (a, a))}
    both, swapped = at[a, b], added(base, [b, a], [0.5, 1]).model.state_dict()
    assert all(torch.equal(both[name], swapped[name]) for name in both)
    none = added(base, [a, b], [0, 0]).model
    assert all(torch.equal(v, none.state_dict()[n]) for n, v in base.model.state_dict().items())
    assert torch.equal(answer(none), answer(base.model))
    name = "denoiser.network.middle.1.qkv.weight"
    one = added(base, [a], [1]).model.state_dict()[name] - base.model.state_dict()[name]
    more = at[a, a][name] - base.model.state_dict()[name]
    torch.testing.assert_close(more, 1.5 * one, rtol=0, atol=1e-6)
    assert one.abs().max() > 1e-3
    assert added(base, [a], [0.5]).model.weights == f"average of decay 0.999, with {a} x 0.5"


def test_adapters_of_another_base_are_refused_or_taken_and_it_is_said(runs, capsys):
    other, a = restore(runs.base("trainer.max_steps=2")), str(runs.adapted("tune=lora"))
    with pytest.raises(
        DataError, match=r"trained on other weights than those of task.ckpt\n.*\n.*tune.base=any"
    ):
        added(other, [a], [1])
    added(other, [a], [1], base="any")
    assert "are added all the same (tune.base=any)" in capsys.readouterr().err


def test_adapters_are_added_by_tasks(runs, tmp_path):
    a = runs.adapted("tune=lora")
    line = [f"task.ckpt={runs.base()}", f"task.adapters=[{a}]", "logger=none", "sampler.steps=2"]
    sample = ["task=sample", "task.n=3", "task.npz=true", "task.files=false"]
    go(tmp_path / "one", *sample, *line)
    go(tmp_path / "own", *sample, "logger=none", "sampler.steps=2", f"task.ckpt={a}")
    go(tmp_path / "none", *sample, *line, "task.adapter_scales=[0]")
    go(tmp_path / "base", *sample, "logger=none", "sampler.steps=2", f"task.ckpt={runs.base()}")
    import numpy as np

    images = {
        n: np.load(tmp_path / n / "samples/samples.npz")["images"].astype(int)
        for n in ("one", "own", "none", "base")
    }
    assert abs(images["one"] - images["own"]).max() <= 1 < abs(images["one"] - images["base"]).max()
    assert (images["none"] == images["base"]).all()
    metrics = ["metrics=digits", "metrics.n=20", "evaluator.pictures=20"]
    measured = go(tmp_path / "measured", "task=evaluate", *line, *metrics, "task.adapter_scales=[0.5]")
    assert any(f"with {a} x 0.5" in str(card) for card in measured["cards"].values())
    for typed, said in (
        (["task.adapter_scales=[1,2]"], "2 scales for 1 adapters"),
        ([f"task.ckpt={a}"], "task.ckpt is an adapted run itself"),
        ([f"task.adapters=[{runs.base()}]"], "holds a whole model, and no adapters"),
        (["task.adapters=[]", "task.adapter_scales=[1]"], "1 scales for 0 adapters"),
    ):
        with pytest.raises(ConfigError, match=said):
            go(tmp_path / "x", *sample, *line, *typed)


def kohya(folder, alpha):
    """The adapters of a run of tune=locon in kohya's names."""
    made = {}
    for layer, parts in by_layer(held(folder)["ema"][0], folder).items():
        name = f"lora_unet_{layer.removeprefix('denoiser.network.').replace('.', '_')}"
        made |= {f"{name}.lora_down.weight": parts["lora_A"].float()}
        made |= {f"{name}.lora_up.weight": parts["lora_B"].float(), f"{name}.alpha": torch.tensor(alpha)}
    return made


def test_files_of_others_are_read(runs, tmp_path):
    base, run = restore(runs.base()), runs.adapted("tune=locon")
    wanted, file = added(base, [str(run)], [0.5]).model.state_dict(), tmp_path / "x.safetensors"
    save_file(kohya(run, 2.0), file)  # of rank 4
    made = added(base, [str(file)], [1]).model.state_dict()
    assert all(torch.equal(made[name], value) for name, value in wanted.items())
    names = {n: v for n, v in held(run)["ema"][0].items()}
    own = {n.replace("denoiser.network.", "unet.").replace(".default", ""): v for n, v in names.items()}
    about = {"lora_adapter_metadata": json.dumps({"unet.r": 4, "unet.lora_alpha": 2})}
    save_file({n: v.contiguous() for n, v in own.items()}, file, about)
    made = added(base, [str(file)], [1]).model.state_dict()
    assert all(torch.equal(made[name], value) for name, value in wanted.items())


def test_strange_files_are_refused(runs, tmp_path):
    base, file = restore(runs.base()), tmp_path / "x.safetensors"
    for state, said in (
        ({"unet.nowhere.lora_A.weight": torch.ones(2, 3)}, "the model has no layer unet.nowhere"),
        ({"text.weight": torch.ones(2)}, "text.weight is no weight of an adapter"),
        ({"unet.conv_in.lora_A.weight": torch.ones(2, 3)}, r"conv_in does not fit: 'lora_B'"),
        (
            {"unet.conv_in.lora_A.weight": torch.ones(2, 3), "unet.conv_in.lora_B.weight": torch.ones(8, 2)},
            "conv_in does not fit: it changes 24 numbers of a weight of 72",
        ),
        (
            {f"unet.conv_in.lokr_w{i}": torch.ones(4000, 4000) for i in (1, 2)},
            "it changes 256,000,000,000,000 numbers of a weight of 72",
        ),
        (
            {
                "unet.conv_in.lora_A.weight": torch.ones(1, 1 << 20),
                "unet.conv_in.lora_B.weight": torch.ones(1 << 20, 1),
            },
            "it changes 1,099,511,627,776 numbers of a weight of 72",
        ),
    ):
        save_file(state, file)
        with pytest.raises(DataError, match=said):
            added(base, [str(file)], [1])
    file.write_bytes(b"abc")
    with pytest.raises(DataError, match="these adapters cannot be read"):
        added(base, [str(file)], [1])
    code = tmp_path / "adapter_model.bin"
    code.write_bytes(b"\x80\x02cos\nsystem\n.")
    with pytest.raises(DataError, match="files that may hold code are not read"):
        added(base, [str(code)], [1])
    with pytest.raises(DataError, match="there is no checkpoint"):
        added(base, [str(tmp_path / "nowhere")], [1])


def test_layers_that_are_not_called_get_no_adapter():
    from diffexp.adapters.layers import layers_of

    parts = {"a": nn.MultiheadAttention(4, 1), "b": nn.Linear(4, 4), "c": nn.Conv2d(4, 4, 3, groups=2)}
    assert list(layers_of(nn.ModuleDict(parts), "")) == ["b"]
    assert list(layers_of(nn.ModuleDict(parts))) == []  # of a codec, say
