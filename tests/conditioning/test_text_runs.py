"""Captions from the command line: trained, stored, restored, resumed, sampled by prompts of any kind."""

import json
import shutil

import numpy as np
import pytest
import torch
from captioned import QUICK, RECIPES

import diffexp
from diffexp.condition import Asked
from diffexp.errors import DataError

ALLOWED = ["listener", "plugins"]
WORDS = ["a", "bottom", "bright", "half", "left", "right", "top"]
PROMPTS = 'task.prompts=["a bright left half","a bright top half"]'


def rows(folder):
    text = (folder / "samples" / "metadata.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.split("\n")[:-1]]


def images(folder):
    return np.load(folder / "samples" / "samples.npz")["images"]


def held(folder, name="last.ckpt"):
    return torch.load(folder / "checkpoints" / name, weights_only=True)


def test_a_vocabulary_is_learned_stored_and_restored(runs):
    folder = runs.trained("words")
    file = held(folder)
    assert file["diffexp"]["learned"] == {"room": 4, "words": WORDS}
    stored = {name for name in file["trained"] if name.startswith("conditioning.")}
    assert "conditioning.encoder.table.weight" in stored and len(stored) == 2 + 2 * 12 + 2
    for average in (False, True):
        model = diffexp.load(folder, average, plugins=ALLOWED)
        state = file["ema"][0] if average else file["trained"]
        assert all(torch.equal(model.state_dict()[name], state[name]) for name in stored)
        assert model.conditioning.learned() == file["diffexp"]["learned"]
    places = [state["conditioning.encoder.places"] for state in (file["trained"], file["ema"][0])]
    assert not torch.equal(*places)


def test_a_file_of_prompts_is_that_list(runs):
    """Empty lines and the mark of some editors are left out."""
    (runs.folder / "prompts.txt").write_bytes(b"\xef\xbb\xbfa bright left half\r\n\n a bright top half \n")
    typed, said = runs.sampled("words", "typed", PROMPTS, "task.npz=true")
    read, _ = runs.sampled("words", "read", "task.prompts=prompts.txt", "task.npz=true")
    _, said_of_one = runs.sampled("words", "one", "task.prompts=prompts.txt", "task.n=1")
    assert "the first 1 of 2 prompts (task.n=1)" in said_of_one
    old, _ = runs.sampled("words", "old", PROMPTS.replace("prompts", "text"), "task.npz=true")
    assert [row["text"] for row in rows(typed)] == ["a bright left half", "a bright top half"] * 2
    assert "words that" not in said and rows(typed)[0]["file_name"] == "00000_seed0.png"
    assert (images(typed) == images(read)).all() and (images(typed) == images(old)).all()
    assert rows(typed) == rows(read) and (typed / "samples" / "grid.png").stat().st_size > 500


def test_the_null_equals_an_empty_negative_and_a_prompt_its_batch(runs):
    guided, prompt = ["guidance.scale=2", "task.npz=true"], "task.prompts=[a bright top half]"
    plain, nothing, unwanted, learned = (
        images(runs.sampled(recipe, name, prompt, *guided, *more)[0])
        for recipe, name, more in (
            ("words", "n1", []), ("words", "n2", ["task.negative=''"]),
            ("words", "n3", ["task.negative=left"]), ("bytes", "n4", []),
        )
    )  # fmt: skip
    assert (plain == nothing).all() and (plain != unwanted).any() and learned.shape == plain.shape
    several = images(runs.sampled("words", "n5", 'task.prompts=["a bright top half","left"]', *guided)[0])
    assert (several[::2] == plain[::2]).all()
    off, words = list[np.ndarray](), list[str]()
    for i, more in enumerate(([], ["task.negative=left"])):
        folder, out = runs.sampled("words", f"o{i}", prompt, "guidance.scale=1", "task.npz=true", *more)
        off.append(images(folder))
        words.append(out)
    assert ["task.negative does nothing at guidance.scale=1" in out for out in words] == [False, True]
    with np.load(runs.folder / "o0" / "samples" / "samples.npz") as arrays:
        captions = arrays["captions"].tolist()
    assert captions == [row["text"] for row in rows(runs.folder / "o0")]
    assert (off[0] == off[1]).all()  # at scale 1 a negative does nothing


STRANGE = [
    "<script>alert(1)</script> & <b>bright</b>", "../../etc/passwd", "/dev/sda",
    "a\x1b[31mbright\x07\u202etop",
    "bright " * 20_000, "x" * 100_000, "😀 top", "يسار مشرق", "赤い", "a,b={c: ${d}}", "\udcff", "",
]  # fmt: skip


def test_prompts_of_strangers_give_an_image_or_a_line(runs):
    """Nothing of them becomes a path, and nothing reaches a terminal."""
    path = runs.folder / "strange.txt"
    lines = [text for text in STRANGE if text and "\udcff" not in text]
    path.write_text("\n".join(lines), encoding="utf-8")
    folder, said = runs.sampled("words", "strange", "task.prompts=strange.txt", f"task.n={len(lines)}")
    assert [row["text"] for row in rows(folder)] == [line.strip() for line in lines]
    names = sorted(p.name for p in (folder / "samples").iterdir())
    assert names == sorted([*(f"{i:05d}_seed0.png" for i in range(len(lines))), "grid.png", "metadata.jsonl"])
    assert "\x1b" not in said and "\u202e" not in said and max(map(len, said.splitlines())) < 600
    assert "words that the model does not know are left out: <" in said
    assert f"1 of {len(lines)} captions are cut: 4 words of a caption are read, and the longest has" in said


@pytest.mark.parametrize("kind", ["words", "bytes"])
def test_any_text_is_encoded(runs, kind):
    model = diffexp.load(runs.trained(kind), plugins=ALLOWED)
    asked = Asked(len(STRANGE), text=tuple(STRANGE), negative=tuple(reversed(STRANGE)))
    cond = model.condition(asked, guided=True)
    assert cond.vector.isfinite().all() and cond.null.tokens.isfinite().all()
    assert len(model.conditioning.remarks(asked)) <= 2


REFUSED = [
    (["task.prompts=none.txt"], 3, "the prompts cannot be read"),
    ([], 2, "this model wants captions"),
    (["task.prompts=empty.txt"], 2, "there is no prompt in this file"),
    (["task.prompts=lines"], 2, "this is a file, and one of prompts ends in .txt"),
    ([PROMPTS, "task.text=[a]"], 2, "task.prompts and task.text are the same"),
    ([PROMPTS, "text_encoder.width=8"], 2, "there is no text_encoder"),
]


@pytest.mark.parametrize(("typed", "code", "text"), REFUSED, ids=[text for _, _, text in REFUSED])
def test_prompts_that_are_not_there_are_refused(runs, typed, code, text):
    (runs.folder / "empty.txt").write_text("\n \n")
    (runs.folder / "lines").write_text("a bright top half\n")
    answered, said = runs.type("task=sample", f"task.ckpt={runs.trained('words')}", *typed, "dir=refused")
    assert (answered, text in said) == (code, True), said
    assert not (runs.folder / "refused").exists()


def test_class_and_caption_are_trained_and_asked_for(runs):
    folder = runs.trained("both")
    model = diffexp.load(folder, plugins=ALLOWED)
    assert model.conditioning.asks == ("label", "text") and model.guidable
    sampled, _ = runs.sampled("both", "classes", PROMPTS, "task.classes=[1]", "guidance.scale=2")
    assert [(row["label"], row["text"][9:12]) for row in rows(sampled)] == [
        ("right", "lef"),
        ("right", "top"),
    ] * 2
    typed = [f"task.ckpt={folder}", "metrics=none", "evaluator.pictures=6", "evaluator.negative=left"]
    measured, _ = runs.done("measured", "task=evaluate", *typed, "guidance.scale=2")
    assert (measured / "samples" / "grid.png").stat().st_size > 500


def test_a_negative_is_refused_where_no_captions_are_told(runs):
    code, said = runs.type(
        "data=halves", "metrics=none", "network=unet_tiny", "evaluator.negative=x", "dir=no"
    )
    assert code == 2 and "a negative is asked for, but the model is told no captions" in said


@pytest.mark.parametrize("recipe", ["words", "both"])
def test_a_run_that_goes_on_equals_the_unbroken_one(runs, recipe):
    whole, half = runs.trained(recipe), [*QUICK, *RECIPES[recipe], "lr.steps=4"]
    runs.done(f"{recipe}-half", *half, "trainer.max_steps=2")
    runs.done(f"{recipe}-half", *half)
    a, b = (held(folder) for folder in (whole, runs.folder / f"{recipe}-half"))
    assert a["diffexp"]["learned"] == b["diffexp"]["learned"]
    for x, y in ((a["trained"], b["trained"]), (a["ema"][0], b["ema"][0])):
        assert x.keys() == y.keys() and all(torch.equal(x[name], y[name]) for name in x)


def test_an_exported_folder_has_the_vocabulary(runs):
    exported, _ = runs.done("exported", "task=export", f"task.ckpt={runs.trained('words')}")
    model = diffexp.load(exported, plugins=ALLOWED)
    assert model.conditioning.learned()["words"] == WORDS


def test_a_damaged_vocabulary_is_refused(runs, tmp_path):
    shutil.copytree(runs.trained("words"), tmp_path / "run")
    file = held(tmp_path / "run")
    for learned, text in (
        ({"room": 4, "words": WORDS[:-1]}, "do not fit"),
        ({"room": 4, "words": [*WORDS, "more"]}, "larger than what the file holds|do not fit"),
        ({"room": 4, "words": 7}, "what is known of the captions is damaged"),
        ("words", "the checkpoint is damaged in learned"),
    ):
        file["diffexp"]["learned"] = learned
        path = tmp_path / "run" / "checkpoints" / "last.ckpt"
        torch.save(file, path)
        path.with_name("last.ckpt.json").unlink(missing_ok=True)
        with pytest.raises(DataError, match=text):
            diffexp.load(tmp_path / "run", plugins=ALLOWED)


def test_a_text_encoder_belongs_to_conditioning_on_text(runs):
    code, said = runs.type("data=halves", "text_encoder=bytes", "dir=no")
    assert code == 2 and "type conditioning=text text_encoder=" in said, said
