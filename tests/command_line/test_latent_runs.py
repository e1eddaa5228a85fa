"""Diffusion in latents by the command line: trained, resumed, sampled, measured, exported, moved, refused."""

import json
import re
import shlex
import shutil

import numpy as np
import pytest
import torch
from forked import forked
from tiny_autoencoder import NODE, Tiny, network, run

import diffexp
from diffexp.data import Digits
from diffexp.model.autoencoder import AutoencoderOfRun
from diffexp.model.checkpoint import write
from diffexp.model.restore import restore
from diffexp.networks import Autoencoder

RESULTS = {"rfid_digits64": 3.25, "psnr": 21.5, "picture": "x.png"}
SMALL = [
    "network=unet_latent", "network.channels=8", "network.blocks=1", "trainer.max_steps=6",
    "callbacks.checkpoint.every=3", "evaluator.every=0", "evaluator.scales=[1]", "metrics.n=20",
    "evaluator.pictures=20", "sampler.steps=3", "logger=none", "loader.flip=true", "codec.folder=latents",
]  # fmt: skip
TRAIN = ["codec=autoencoder", "codec.ckpt=ae", *SMALL]


class Runs:
    def __init__(self, folder):
        self.folder = folder

    def type(self, *typed):
        """(exit code, what was said)"""
        return forked(typed, self.folder, self.folder / "said")

    def done(self, *typed):
        code, said = self.type(*typed)
        assert code == 0, said
        return said

    def refused(self, code, *typed):
        got, said = self.type(*typed)
        assert got == code, said
        return said


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("latent")
    made = Runs(folder)
    run(folder / "ae", results=RESULTS)
    made.said = made.done(*TRAIN, "dir=run")
    return made


def typed_next(said):
    """The words that an error suggests, as a shell reads them."""
    return [w for w in shlex.split(said.partition("do: ")[2].splitlines()[0]) if "=" in w]


def held(folder):
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)


def results(folder):
    return json.loads((folder / "run.json").read_text())["results"]


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_a_checkpoint_has_the_scale_and_not_the_autoencoder(runs):
    checkpoint = held(runs.folder / "run")
    assert not [n for part in (checkpoint["trained"], *checkpoint["ema"]) for n in part if "codec" in n]
    assert [*checkpoint["diffexp"]["base"]] == ["codec", "codec.latents"]
    scale = checkpoint["diffexp"]["codec"]
    assert scale["images"] == 1437 and scale["channels"] == 2 and len(scale["mean"]) == 2
    assert 0 < scale["error"][0] < 0.05 * scale["factor"][0]
    assert re.search(r"encoding the train images of digits, mirrored: [\d.]+ MB in \S*latents", runs.said)
    assert "for unit deviation over 1,437 images" in runs.said


def test_the_scale_is_that_of_the_averaged_weights_over_the_training_set(runs):
    codec = Tiny(network(0))
    codec.latent((1, 8, 8))
    codec.measure(codec.moments(batch.image) for batch in Digits().batches("train", 256))
    scale = held(runs.folder / "run")["diffexp"]["codec"]
    assert {key: pytest.approx(value) for key, value in codec.learned().items()} == scale


def test_a_card_names_the_autoencoder_and_its_ceiling(runs):
    cards = results(runs.folder / "run")["cards"]
    digest = diffexp.load(runs.folder / "run", codec=str(runs.folder / "ae")).codec.digest[:12]
    assert cards["fid_digits64"]["autoencoder"] == digest and cards["fid_digits64"]["ceiling"] == 3.25
    assert cards["accuracy_svm"]["ceiling"] == "not measured"
    assert cards["fid_digits64"]["clip"] == "NoClip()"
    assert "of its reconstructions" in runs.said


def test_the_ceiling_is_of_the_weights_that_were_measured(runs):
    run(runs.folder / "measured", results=RESULTS)
    ended = {"results": {"rfid_digits64": 1.5, "rkid": 10**400, "raccuracy_svm": "much"}}
    (runs.folder / "measured" / "run.json").write_text(json.dumps(ended))
    shutil.copy(runs.folder / "measured/checkpoints/last.ckpt", runs.folder / "measured/checkpoints/a.ckpt")
    for ckpt, ema, ceiling in (
        ("measured", True, 1.5),
        ("measured/checkpoints/a.ckpt", True, 3.25),
        ("measured", False, "not measured"),
    ):
        codec = AutoencoderOfRun(str(runs.folder / ckpt), ema)
        codec.latent((1, 8, 8))
        codec.load()
        assert codec.ceiling("fid_digits64") == {"ceiling": ceiling}
        assert codec.ceiling("kid") == codec.ceiling("accuracy_svm") == {"ceiling": "not measured"}


def test_images_of_another_size_are_taken_without_a_ceiling(runs, capsys):
    """The network has no size of its own, so its latents are of theirs; what was measured is of others."""
    codec = AutoencoderOfRun(str(runs.folder / "ae"))
    assert codec.latent((1, 12, 28)) == (2, 6, 14)
    said = capsys.readouterr().err
    assert "was trained on images of 8x8, and these are 12x28: it takes them, but how well it gives" in said
    codec.load()
    assert codec.ceiling("fid_digits64") == {"ceiling": "not measured"}


def test_cached_and_fresh_latents_train_the_same_weights(runs):
    said = runs.done(*TRAIN, "codec.cache=false", "dir=fresh")
    assert "encoding" not in said
    a, b = (held(runs.folder / name) for name in ("run", "fresh"))
    assert same(a["trained"], b["trained"]) and a["diffexp"]["codec"] == b["diffexp"]["codec"]


def test_a_resumed_run_ends_as_the_unbroken_one_and_encodes_nothing_again(runs):
    runs.done(*TRAIN, "trainer.max_steps=3", "lr.steps=6", "dir=broken")
    said = runs.done(*TRAIN, "lr.steps=6", "dir=broken")
    assert "going on from step 3" in said and "encoding" not in said and "unit deviation" not in said
    unbroken = runs.done(*TRAIN, "lr.steps=6", "dir=unbroken")
    assert "going on" not in unbroken
    a, b = (held(runs.folder / name) for name in ("broken", "unbroken"))
    assert same(a["trained"], b["trained"]) and same(a["ema"][0], b["ema"][0])
    assert a["diffexp"]["codec"] == b["diffexp"]["codec"]


TASKS = [
    ["task=sample", "task.n=4"], ["task=evaluate", "evaluator.batch_size=7"],
    ["task=encode", "task.n=4"], ["task=interpolate", "task.n=1", "task.points=2"],
    ["task=sample", "task.n=4", "clip=dynamic", "guidance.scale=2"],
]  # fmt: skip


@pytest.mark.parametrize("typed", TASKS, ids=lambda t: "_".join(t[::2]))
def test_every_task_works_in_latents(runs, typed):
    said = runs.done(*typed, "task.ckpt=run", "logger=none", f"dir=tasks/{TASKS.index(typed)}")
    assert "reading codec.ckpt=ae" in said
    if typed[0] == "task=evaluate":
        before, now = (results(runs.folder / name) for name in ("run", "tasks/1"))
        assert before["fid_digits64"] == pytest.approx(now["fid_digits64"])
        assert before["cards"]["fid_digits64"]["ceiling"] == now["cards"]["fid_digits64"]["ceiling"]


def test_a_classifier_guides_in_latents(runs):
    runs.done("task=classifier", "task.ckpt=run", "task.steps=3", "logger=none", "dir=classifier")
    guided = ["guidance=classifier", "guidance.ckpt=classifier", "guidance.scale=2"]
    runs.done("task=sample", "task.ckpt=run", "task.n=2", *guided, "logger=none", "dir=guided")


def test_an_exported_run_is_the_same(runs):
    runs.done("task=export", "task.ckpt=run", "logger=none", "dir=exported")
    where = str(runs.folder / "ae")
    a, b = (diffexp.load(runs.folder / name, codec=where) for name in ("run", "exported"))
    assert same(a.state_dict(), b.state_dict()) and a.codec.learned() == b.codec.learned()
    x = torch.randn(2, 2, 4, 4)
    assert torch.equal(a.codec.decode(x), b.codec.decode(x))


def test_what_has_no_meaning_is_refused_in_a_sentence(runs):
    said = runs.refused(2, "task=likelihood", "task.ckpt=run", "dir=no")
    assert "the likelihood is that of 8-bit pixels" in said
    said = runs.refused(2, *TRAIN, "model.bpd_terms=4", "dir=no")
    assert "bpd_terms=4" in said and "give 0, or 2 or more, with codec=pixels" in said
    said = runs.refused(2, *TRAIN, "objective=hybrid", "dir=no")
    assert "the bound and the terms are of pixels, not of latents" in said
    said = runs.refused(
        2, "task=evaluate", "network=gaussian", "codec=autoencoder", "codec.ckpt=ae", "dir=no"
    )
    assert "a denoiser in closed form is of pixels" in said
    assert not (runs.folder / "no").exists()


@pytest.mark.slow
def test_an_autoencoder_that_has_moved_is_named_at_its_new_place(runs):
    shutil.copytree(runs.folder / "ae", runs.folder / "ae before")
    runs.done(*TRAIN, "codec.ckpt='ae before'", "trainer.max_steps=1", "dir=moving")
    (runs.folder / "ae before").rename(runs.folder / "ae now")
    sampling = ["task=sample", "task.n=2", "task.ckpt=moving", "logger=none"]
    said = runs.refused(3, *sampling, "dir=no")
    assert "there is no checkpoint ae before\n  at: codec.ckpt" in said
    assert "type codec=autoencoder codec.ckpt=RUN, the folder of its run as it lies now" in said
    said = runs.refused(2, *sampling, "codec.ckpt='ae now'", "dir=no")
    assert "there is no codec.ckpt: it is of codec=autoencoder" in said
    assert "do: type codec=autoencoder codec.ckpt=..." in said
    runs.done(*sampling, "codec=autoencoder", "codec.ckpt='ae now'", "dir=found")
    runs.done(*TRAIN, "codec.ckpt='ae now'", "trainer.max_steps=2", "dir=moving")
    run(runs.folder / "other", seed=5)
    said = runs.refused(3, *sampling, "codec=autoencoder", "codec.ckpt=other", "dir=no")
    assert "codec has other weights than those that the run was trained on: other is typed, and it" in said
    assert "it was trained with ae now\n" in said
    runs.done(*sampling, *typed_next(said), "dir=put back")
    shutil.copytree(runs.folder / "ae now", runs.folder / "as it was")
    run(runs.folder / "ae now", seed=5)
    said = runs.refused(3, *sampling, "dir=no")
    assert "the run was trained on\n" in said
    assert "put the file back that it was trained with: ae now" in said
    shutil.copytree(runs.folder / "as it was", runs.folder / "ae now", dirs_exist_ok=True)
    said = runs.refused(3, *TRAIN, "codec.ckpt=other", "trainer.max_steps=3", "dir=moving")
    assert "codec has other weights than those that the run was trained on" in said
    said = runs.refused(2, *sampling, "codec=autoencoder", "dir=no")
    assert "codec is of the training run" in said


def test_another_decoder_is_taken_and_its_ceiling(runs):
    run(runs.folder / "decoder", decoder=7, results={"rfid_digits64": 1.25})
    typed = ["codec=autoencoder", "codec.ckpt=decoder", "logger=none"]
    said = runs.done("task=evaluate", "task.ckpt=run", *typed, "dir=decoded")
    line = "decoder has another decoder than the autoencoder of the run, ae, and the same encoder"
    assert said.count(line) == 1
    card, before = (results(runs.folder / n)["cards"]["fid_digits64"] for n in ("decoded", "run"))
    assert (before["ceiling"], card["ceiling"]) == (3.25, 1.25) and card["autoencoder"] != before[
        "autoencoder"
    ]
    a, b = (diffexp.load(runs.folder / "run", codec=str(runs.folder / name)) for name in ("ae", "decoder"))
    x = torch.randn(2, 2, 4, 4)
    assert a.codec.learned() == b.codec.learned() and not torch.equal(a.codec.decode(x), b.codec.decode(x))
    image = Digits().split("test").batch(torch.arange(9)).image
    assert torch.equal(a.codec.encode(image), b.codec.encode(image))
    said = runs.done(*TRAIN, "codec.ckpt=decoder", "trainer.max_steps=6", "init=run", "dir=begun")
    assert held(runs.folder / "begun")["diffexp"]["codec"] == held(runs.folder / "run")["diffexp"]["codec"]
    assert "unit deviation" not in said


def test_a_run_of_before_there_was_a_digest_of_the_encoder(runs):
    """It takes its own autoencoder as before, and once exported another decoder too."""
    run(runs.folder / "decoder2", decoder=8)
    shutil.copytree(runs.folder / "run", runs.folder / "old")
    checkpoint = held(runs.folder / "old")
    del checkpoint["diffexp"]["base"]["codec.latents"]
    write(runs.folder / "old" / "checkpoints" / "last.ckpt", checkpoint)
    sampling = ["task=sample", "task.n=2", "logger=none"]
    runs.done(*sampling, "task.ckpt=old", "dir=old_sampled")
    other = ["codec=autoencoder", "codec.ckpt=decoder2"]
    said = runs.refused(3, *sampling, *other, "task.ckpt=old", "dir=no")
    assert "decoder2 is typed, and it was trained with ae\n" in said
    assert "type codec=autoencoder codec.ckpt=ae; before it takes another decoder, export it" in said
    assert "task=export task.ckpt=old/checkpoints/last.ckpt" in said
    runs.done("task=export", "task.ckpt=old/checkpoints/last.ckpt", "logger=none", "dir=knows")
    assert "same encoder" in runs.done(*sampling, *other, "task.ckpt=knows", "dir=old_decoded")


def test_a_missing_or_foreign_autoencoder_is_told_by_one_line(runs):
    said = runs.refused(2, "experiment=fashion_mnist_latent", "data=digits", "metrics=digits", "dir=no")
    assert "codec=autoencoder needs an autoencoder\n  at: codec.ckpt" in said
    assert "python run.py task=autoencoder data=..." in said and "codec.ckpt=RUN" in said
    said = runs.refused(3, "codec=autoencoder", "codec.ckpt=run", *SMALL, "dir=no")
    assert "this is no run of task=autoencoder" in said
    run(runs.folder / "colours", shape=(3, 8, 8))
    said = runs.refused(2, "codec=autoencoder", "codec.ckpt=colours", *SMALL, "dir=no")
    assert "images of 1 channels, and an autoencoder of 3\n  at: codec.ckpt=colours" in said
    assert "data=...; or take data of 3x8x8, which it was trained on" in said
    odd = ["data=npz", "data.path=odd.npz"]
    np.savez(runs.folder / "odd.npz", images=np.zeros((100, 9, 12), np.uint8))
    said = runs.refused(2, "codec=autoencoder", "codec.ckpt=ae", *SMALL, *odd, "conditioning=none", "dir=no")
    assert "images of 9x12 cannot be made 2 times smaller\n  at: codec.ckpt=ae" in said
    assert "or take sides that are multiples of 2 (data.size, of a folder)" in said


def test_an_autoencoder_of_other_latents_than_the_run_is_refused_with_its_own(runs):
    """Of more channels or fewer, or a half instead of a quarter of the size."""
    for name, change in (
        ("wide", {"latent_channels": 4}), ("one", {"latent_channels": 1}),
        ("small", {"channel_mult": [1, 2, 2]}),
    ):  # fmt: skip
        node = {**NODE, **change}
        made = Autoencoder(1, node["latent_channels"], 8, node["channel_mult"], groups=4)
        run(runs.folder / name, node=node, net=made)
        other = ["codec=autoencoder", f"codec.ckpt={name}"]
        said = runs.refused(3, "task=sample", "task.ckpt=run", *other, "logger=none", "dir=no")
        shape = "x".join(map(str, made.latent((1, 8, 8))))
        assert f"trained in latents of 2x4x4, and {name} makes {shape}\n  at: run" in said
        assert "do: type codec=autoencoder codec.ckpt=ae\n" in said


BAD = {
    "class": ({**NODE, "_target_": "torch.nn.Linear"}, "may not be built from a file"),
    "path": ({**NODE, "_target_": "diffexp.files.write"}, "may not be built from a file"),
    "larger": ({**NODE, "channels": 1 << 14}, "it is larger than what the file holds"),
    "unknown": ({**NODE, "depth": 3}, "has no depth"),
    "other": ({**NODE, "channels": 4}, "the weights do not fit the network"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_strangers_autoencoder_builds_only_what_the_catalogue_has(runs, name):
    node, what = BAD[name]
    run(runs.folder / f"bad_{name}", node=node)
    code, said = runs.type("codec=autoencoder", f"codec.ckpt=bad_{name}", *SMALL, f"dir=no_{name}")
    assert code in (2, 3) and what in said and "Traceback" not in said, said


def test_a_restored_model_needs_no_cache_and_writes_none(runs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    restore(runs.folder / "run", codec=str(runs.folder / "ae"))
    assert [*tmp_path.iterdir()] == []
