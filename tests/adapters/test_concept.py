"""Runs that learn a word: what is trained and stored, what is made of it, and what is refused."""

import json
import shutil

import numpy as np
import pytest
import torch
from adapters.concepts import KNOWN, NEW, base, folder, line
from adapters.conftest import go, held
from safetensors.torch import load_file, save_file

import diffexp
from diffexp.adapters.add import added
from diffexp.errors import ConfigError, DataError
from diffexp.model.adapter_names import TUNED
from diffexp.model.restore import restore

CAPTION = "a red <thing> on a black ground"
INIT = ("tune.init=three",)


def told(model, *texts):
    """What the model is told of captions."""
    with torch.no_grad():
        return model.conditioning.encoder(texts or (CAPTION,))


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def close(a, b):
    return all(torch.allclose(x.float(), y.float(), atol=1e-6) for x, y in zip(a, b, strict=True))


def encoder(path):
    return diffexp.load(path).conditioning.encoder


@pytest.mark.parametrize("more", [INIT, (*INIT, "tune.vectors=3", "tune.keep_norm=true")])
def test_the_vectors_alone_are_trained_and_stored(runs, more):
    """With weight decay, averages and a checkpoint in between: all else is the base's, bit for bit."""
    run, below = runs.trained(*line(runs, *more, "optimizer.weight_decay=0.1")), base(runs)
    kept = held(run)
    assert [list(state) for state in (kept["trained"], *kept["ema"])] == [[TUNED], [TUNED]]
    assert kept["trained"][TUNED].shape == (3 if "tune.vectors=3" in more else 1, 8)
    assert not torch.equal(kept["trained"][TUNED], kept["ema"][0][TUNED])
    model, before = diffexp.load(run).state_dict(), diffexp.load(below).state_dict()
    assert set(model) - set(before) == {TUNED}
    assert all(torch.equal(model[name], value) for name, value in before.items())
    assert kept["diffexp"]["learned"] == held(below)["diffexp"]["learned"]
    assert set(kept["diffexp"]["base"]) == {"denoiser.network", "conditioning"}
    assert (run / "checkpoints" / "last.ckpt").stat().st_size < 80_000


def test_a_word_begins_as_the_word_it_is_given(runs, tmp_path):
    still = ["trainer.max_steps=1", "optimizer.weight_decay=0", "optimizer.lr=1e-38"]
    run, below = diffexp.load(runs.trained(*line(runs, *INIT, *still))), diffexp.load(base(runs))
    assert same(told(run), told(below, CAPTION.replace("<thing>", "three")))
    assert same(told(run, "a <THING>x one"), told(below, "a three x one"))
    assert same(told(run, *KNOWN), told(below, *KNOWN))
    other = diffexp.load(runs.trained(*line(runs, *INIT)))
    assert (told(other)[0] - told(run)[0]).abs().max() > 1e-3


def test_without_a_beginning_it_is_the_mean_and_several_words_come_in_turn(runs, tmp_path):
    still = ["trainer.max_steps=1", "optimizer.weight_decay=0", "optimizer.lr=1e-38"]
    table = encoder(base(runs)).table.weight
    mean = held(runs.trained(*line(runs, *still)))["trained"][TUNED]
    assert torch.equal(mean, table[1:].mean(0, keepdim=True))
    turn = runs.trained(*line(runs, *still, "tune.init='red one'", "tune.vectors=3"))
    numbers = encoder(base(runs)).numbers
    rows = [numbers[word] for word in ("red", "one", "red")]
    assert torch.equal(held(turn)["trained"][TUNED], table[rows])


def test_a_norm_that_is_kept_is_that_of_the_vocabulary(runs):
    made = encoder(runs.trained(*line(runs, *INIT, "tune.keep_norm=true", "optimizer.lr=1")))
    lengths = made.concepts.vectors()["<thing>"].norm(dim=1)
    assert lengths.tolist() == pytest.approx([float(made.table.weight[1:].norm(dim=1).mean())], rel=1e-5)
    raw = made.concepts.tuned.norm(dim=1)
    assert abs(float(raw - lengths)) > 0.1


def test_a_run_that_was_stopped_goes_on_as_one_that_was_not(runs, tmp_path):
    typed = [*line(runs, *INIT, "tune.keep_norm=true"), "optimizer.weight_decay=0.1"]
    go(tmp_path / "parts", *typed, "trainer.max_steps=2")
    go(tmp_path / "parts", *typed)
    whole, parts = held(runs.trained(*typed)), held(tmp_path / "parts")
    for a, b in ((whole["trained"], parts["trained"]), (whole["ema"][0], parts["ema"][0])):
        assert torch.equal(a[TUNED], b[TUNED])


def test_prompts_find_the_word(runs, tmp_path, capsys):
    run, sample = runs.trained(*line(runs, *INIT)), ["task=sample", "logger=none", "task.n=1"]
    asked = [f"task.prompts=['{CAPTION} thing']", "task.npz=true"]
    go(tmp_path / "a", *sample, f"task.ckpt={run}", *asked)
    out = capsys.readouterr().out
    assert "are left out: thing\n" in out  # and not <thing>
    go(tmp_path / "b", *sample, f"task.ckpt={base(runs)}", f"task.adapters=[{run}]", *asked)
    go(tmp_path / "c", *sample, f"task.ckpt={base(runs)}", *asked)
    assert "are left out: <, thing (nearest: three), >" in capsys.readouterr().out.replace("\n", " ")
    images = [np.load(tmp_path / name / "samples/samples.npz")["images"] for name in "abc"]
    assert (images[0] == images[1]).all() and (images[0] != images[2]).any()
    measured = go(tmp_path / "d", "task=evaluate", "logger=none", f"task.ckpt={run}", "metrics=none")
    assert measured["step"] == 4


@pytest.mark.parametrize("more", [INIT, (*INIT, "tune.vectors=3", "tune.keep_norm=true")])
def test_a_word_is_exported_alone_and_read_back(runs, tmp_path, more):
    run, below = runs.trained(*line(runs, *more)), base(runs)
    export = ["task=export", f"task.ckpt={run}", "logger=none"]
    go(tmp_path / "alone", *export, "task.merge=false")
    state = load_file(tmp_path / "alone" / "learned_embeds.safetensors")
    wanted = encoder(run).concepts.vectors()["<thing>"]
    assert list(state) == ["<thing>"] and torch.equal(state["<thing>"], wanted)
    shutil.copy(tmp_path / "alone" / "learned_embeds.safetensors", tmp_path / "x.safetensors")
    for path in (run, tmp_path / "alone", tmp_path / "x.safetensors"):
        assert close(told(added(restore(below), [str(path)], [1]).model), told(diffexp.load(run)))
    assert close(told(diffexp.load(tmp_path / "alone")), told(diffexp.load(run)))


def test_a_merged_run_is_a_plain_one_that_knows_the_word(runs, tmp_path):
    run = runs.trained(*line(runs, *INIT, "tune.vectors=2", "tune.keep_norm=true"))
    go(tmp_path / "whole", "task=export", f"task.ckpt={run}", "logger=none")
    whole = restore(tmp_path / "whole")
    assert close(told(whole.model), told(diffexp.load(run)))
    assert not whole.tune.needs_base and whole.model.conditioning.learned()["concepts"] == {"<thing>": 2}
    typed = line(runs, *INIT, below=tmp_path / "whole")
    with pytest.raises(ConfigError, match=r"<thing> is a word that the base knows\n.*\n.*<thing-2>"):
        go(tmp_path / "x", *typed)
    second = [*typed[:-2], "tune.word=BLACK-ground"]  # and a second word beside it
    with pytest.raises(ConfigError, match="no caption of the training images has the word BLACK-ground"):
        go(tmp_path / "x", *second)
    two = diffexp.load(runs.trained(*second, 'data.caption.prefix="black-ground "', "tune.init='<thing>'"))
    assert two.conditioning.encoder.concepts.sizes == {"<thing>": 2, "BLACK-ground": 1}
    assert close(told(two), told(whole.model))


def test_words_and_adapters_are_added_in_any_order(runs, tmp_path):
    word, lora = runs.trained(*line(runs, *INIT)), list(line(runs))
    known, below = runs.folder / "known", restore(base(runs))
    of_lora = [text for text in lora if not text.startswith(("tune", "data.path"))]
    lora = runs.trained(*of_lora, f"data.path={known}", "tune=lora", "tune.text_encoder=true")
    a = added(below, [str(word), str(lora)], [1, 0.5])
    b = added(below, [str(lora), str(word)], [0.5, 1])
    assert same(told(a.model), told(b.model)) and not same(told(a.model), told(diffexp.load(word)))
    none = added(below, [str(word)], [0]).model.state_dict()
    assert none.keys() == below.model.state_dict().keys()
    with pytest.raises(ConfigError, match="<thing> is a word, and has no scale: 0.5"):
        added(below, [str(word)], [0.5])
    with pytest.raises(DataError, match="<thing> is a word that the base knows"):
        added(below, [str(word), str(word)], [1, 1])


def test_a_word_of_another_base_is_refused(runs, tmp_path, capsys):
    run, other = runs.trained(*line(runs, *INIT)), restore(base(runs, "seed=1"))
    go(tmp_path / "alone", "task=export", f"task.ckpt={run}", "logger=none", "task.merge=false")
    moved = shutil.copy(tmp_path / "alone" / "learned_embeds.safetensors", tmp_path / "x.safetensors")
    for path in (run, moved):
        with pytest.raises(DataError, match="trained on other weights than those of task.ckpt"):
            added(other, [str(path)], [1])
    added(other, [str(moved)], [1], base="any")
    assert "are added all the same (tune.base=any)" in capsys.readouterr().err


def test_files_of_others_are_read_and_strange_ones_are_not(runs, tmp_path):
    below, file = restore(base(runs)), tmp_path / "cat-toy.safetensors"
    vectors = torch.randn(2, 8)
    for state, word in (({"emb_params": vectors}, "cat-toy"), ({"<cat>": vectors[0]}, "<cat>")):
        save_file(state, file)
        made = added(below, [str(file)], [1]).model.conditioning.encoder.concepts.vectors()
        assert list(made) == [word] and torch.equal(made[word], vectors.view(-1, 8)[: len(made[word])])
    for state, said in (
        ({"<cat>": torch.ones(2, 9)}, "<cat> has vectors of 9 numbers, .* have 8"),
        ({"<cat>": torch.ones(2, 8).long()}, "<cat> is no weight of an adapter"),
        ({"<cat>": torch.ones(1001, 1)}, "<cat> is no weight of an adapter"),
        ({"a b": torch.ones(2, 8)}, "a b is no weight of an adapter"),
        ({"three": torch.ones(2, 8)}, "three is a word that the base knows"),
        ({"<cat>": torch.full((1, 8), torch.nan)}, "<cat> has vectors that are not finite"),
    ):
        save_file(state, file)
        with pytest.raises(DataError, match=said):
            added(below, [str(file)], [1])
    save_file({"<cat>": vectors}, file)
    with pytest.raises(DataError, match="the model reads no captions, and knows no words"):
        added(restore(runs.base()), [str(file)], [1])


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (
            ["tune.init=thre"],
            r"init='thre': the base does not know thre \(nearest: three\)\n.*\n.*init=three",
        ),
        (["tune.init=''"], "does not know any word of it"),
        (["tune.word=three"], r"three is a word that the base knows\n  at: tune.word\n.*<three-2>"),
        (["tune.word=a.b"], "without blanks and points"),
        (["tune.word='a b'"], "without blanks and points"),
        (["tune.word=7"], "without blanks and points"),
        (["tune.vectors=0"], "vectors=0"),
        (["tune.vectors=1001"], "give at most 1,000"),
        (["tune.vectors=8"], r"vectors=8, and 7 words of a caption are read\n.*\n  do: give fewer"),
        (["tune.word='<thin>'"], r"no caption of the training images has the word <thin>\n.*\n.*prefix="),
        (["tune.words=3"], "words"),
    ],
)
def test_what_makes_no_word_is_refused(runs, tmp_path, typed, said):
    with pytest.raises((ConfigError, DataError), match=said):
        go(tmp_path / "x", *line(runs, *typed))
    assert not (tmp_path / "x").exists()


def test_a_model_without_captions_learns_no_word(runs, tmp_path):
    typed = [text for text in line(runs, below=runs.base()) if not text.startswith(("data", "text_enc"))]
    typed.remove("conditioning=text")
    with pytest.raises(ConfigError, match="the model reads no captions"):
        go(tmp_path / "x", *typed)


def test_captions_that_are_cut_are_said(runs, tmp_path, capsys):
    go(tmp_path / "x", *line(runs, *INIT, "tune.vectors=2"), "dry_run=true")
    out = capsys.readouterr().out
    assert "Concept: <thing> is learned, 2 vectors of 8 numbers" in out
    assert "3 of 3 captions with <thing> are cut: 7 words are read, and the longest has 8" in out


def test_the_words_of_a_strangers_checkpoint_are_judged(runs, tmp_path):
    run = runs.trained(*line(runs, *INIT))
    go(tmp_path / "whole", "task=export", f"task.ckpt={run}", "logger=none")
    config = tmp_path / "whole" / "config.json"
    told = json.loads(config.read_text())
    for words in ({"a b": 1}, {"x": 0}, {"x": 1.5}, {"x": 1 << 40}, ["x"], {"x" * 300: 1}):
        told["learned"]["concepts"] = words
        config.write_text(json.dumps(told))
        with pytest.raises(DataError, match="words that were learned later are no words"):
            diffexp.load(tmp_path / "whole")
    told["learned"]["concepts"] = {"x": 1000}
    config.write_text(json.dumps(told))
    with pytest.raises(DataError, match="larger than what the file holds"):
        diffexp.load(tmp_path / "whole")


def test_bytes_learn_a_word_too(runs, tmp_path):
    typed = ["text_encoder=bytes"]
    below = base(runs, *typed)
    run = runs.trained(*line(runs, *typed, "tune.init=ab", "tune.vectors=2", below=below))
    made = encoder(run)
    assert made.lengths([CAPTION]) == [len(CAPTION) - len("<thing>") + 2]
    assert made.numbers_of("é<thing>")[-2:] == [257, 258]
    assert same(told(diffexp.load(run), *KNOWN), told(diffexp.load(below), *KNOWN))
