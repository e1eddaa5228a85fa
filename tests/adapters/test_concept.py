"""Runs that learn a word: what is trained and stored, what is made of it, and what is refused."""

import json
import re
import shutil

import numpy as np
import pytest
import torch
from adapters.concepts import KNOWN, NEW, TYPED, base, line
from adapters.conftest import go, held
from captioned import model, tokenizer
from safetensors.torch import load_file, save_file

import diffexp
from diffexp.adapters import Concept
from diffexp.adapters.add import added
from diffexp.errors import ConfigError, DataError
from diffexp.model.adapter_names import TUNED
from diffexp.model.restore import restore

CAPTION = NEW[0]
ONE = ("tune.init=three", "optimizer.weight_decay=0.1")
THREE = (*ONE, "tune.vectors=3", "tune.keep_norm=true")


def told(model, *texts):
    """What the model is told of captions."""
    with torch.no_grad():
        return model.conditioning.encoder(texts or (CAPTION,))


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def close(a, b):
    return all(torch.allclose(x.float(), y.float(), atol=1e-6) for x, y in zip(a, b, strict=True))


def of_run(path):
    """The encoder of a run."""
    return diffexp.load(path).conditioning.encoder


def begun(runs, *options, **more):
    """The base when it has got the word, and is not trained yet."""
    model = diffexp.load(base(runs))
    Concept("<thing>", *options, **more).apply(model)
    return model


@pytest.mark.parametrize("more", [ONE, THREE])
def test_the_vectors_alone_are_trained_and_stored(runs, more):
    """With weight decay, an average and a checkpoint: all else is the base's, bit for bit."""
    run, below = runs.trained(*line(runs, *more)), base(runs)
    kept = held(run)
    assert [list(state) for state in (kept["trained"], *kept["ema"])] == [[TUNED], [TUNED]]
    assert kept["trained"][TUNED].shape == (1 if more == ONE else 3, 8)
    assert not torch.equal(kept["trained"][TUNED], kept["ema"][0][TUNED])
    model, before = diffexp.load(run).state_dict(), diffexp.load(below).state_dict()
    assert set(model) - set(before) == {TUNED}
    assert all(torch.equal(model[name], value) for name, value in before.items())
    assert same(told(diffexp.load(run), *KNOWN), told(diffexp.load(below), *KNOWN))
    assert (told(diffexp.load(run)).vector - told(begun(runs, "three")).vector).abs().max() > 1e-3
    assert kept["diffexp"]["learned"] == held(below)["diffexp"]["learned"]
    assert set(kept["diffexp"]["base"]) == {"denoiser.network", "conditioning"}
    assert (run / "checkpoints" / "last.ckpt").stat().st_size < 80_000


def test_a_word_begins_as_the_words_it_is_given(runs):
    below = diffexp.load(base(runs))
    table, numbers = below.conditioning.encoder.table.weight, below.conditioning.encoder.numbers
    model = begun(runs, "three")
    assert same(told(model), told(below, CAPTION.replace("<thing>", "three")))
    assert same(told(model, "a <THING>x one"), told(below, "a three x one"))
    assert torch.equal(model.get_parameter(TUNED), table[[numbers["three"]]])
    assert torch.equal(begun(runs).get_parameter(TUNED), table[1:].mean(0, keepdim=True))
    turn = begun(runs, "red one", 3).get_parameter(TUNED)
    assert torch.equal(turn, table[[numbers[word] for word in ("red", "one", "red")]])


def test_a_norm_that_is_kept_is_that_of_the_vocabulary(runs):
    encoder = of_run(runs.trained(*line(runs, *THREE)))
    norm = float(encoder.table.weight[1:].norm(dim=1).mean())
    assert encoder.concepts.vectors()["<thing>"].norm(dim=1).tolist() == pytest.approx([norm] * 3, rel=1e-5)
    assert (encoder.concepts.tuned.norm(dim=1) - norm).abs().min() > 0.01


def test_a_run_that_was_stopped_goes_on_as_one_that_was_not(runs, tmp_path):
    typed = line(runs, *THREE)
    go(tmp_path / "parts", *typed, "trainer.max_steps=2")
    go(tmp_path / "parts", *typed)
    whole, parts = held(runs.trained(*typed)), held(tmp_path / "parts")
    for a, b in ((whole["trained"], parts["trained"]), (whole["ema"][0], parts["ema"][0])):
        assert torch.equal(a[TUNED], b[TUNED])


def test_prompts_find_the_word(runs, tmp_path, capsys):
    run, sample = runs.trained(*line(runs, *ONE)), ["task=sample", "logger=none", "task.n=1"]
    asked = [f"task.prompts=['{CAPTION} thing']", "task.npz=true"]
    go(tmp_path / "a", *sample, f"task.ckpt={run}", *asked)
    assert "are left out: thing\n" in capsys.readouterr().out  # and not <thing>
    go(tmp_path / "b", *sample, f"task.ckpt={base(runs)}", f"task.adapters=[{run}]", *asked)
    a, b = (np.load(tmp_path / name / "samples/samples.npz")["images"] for name in "ab")
    assert (a == b).all()


@pytest.mark.parametrize("more", [ONE, THREE])
def test_a_word_is_exported_alone_and_read_back(runs, tmp_path, more):
    run, below = runs.trained(*line(runs, *more)), restore(base(runs))
    go(tmp_path / "alone", "task=export", f"task.ckpt={run}", "logger=none", "task.merge=false")
    file = tmp_path / "alone" / "learned_embeds.safetensors"
    state, wanted = load_file(file), of_run(run).concepts.vectors()["<thing>"]
    assert list(state) == ["<thing>"] and torch.equal(state["<thing>"], wanted)
    moved = shutil.copy(file, tmp_path / "x.safetensors")
    for path in (run, tmp_path / "alone", file, moved):
        assert close(told(added(below, [str(path)], [1]).model), told(diffexp.load(run))), path
    assert close(told(diffexp.load(tmp_path / "alone")), told(diffexp.load(run)))


def test_a_merged_run_is_a_plain_one_that_knows_the_word(runs, tmp_path):
    run = runs.trained(*line(runs, *THREE))
    go(tmp_path / "whole", "task=export", f"task.ckpt={run}", "logger=none")
    whole = restore(tmp_path / "whole")
    assert close(told(whole.model), told(diffexp.load(run)))
    assert not whole.tune.needs_base and whole.model.conditioning.learned()["concepts"] == {"<thing>": 3}
    with pytest.raises(ConfigError, match=r"<thing> is a word that the base knows\n.*\n.*<thing-2>"):
        Concept("<thing>").apply(whole.model)
    second = [*line(runs, below=tmp_path / "whole"), "tune.word=Black-Ground"]
    two = of_run(runs.trained(*second, 'data.caption.prefix="black-ground "'))
    assert two.concepts.sizes == {"<thing>": 3, "Black-Ground": 1}
    assert two.numbers_of("BLACK-ground<thing>") == [10 + 3, 10, 11, 12]  # behind 9 words and the beginning
    assert close(two((CAPTION,)), told(whole.model))
    told_of = json.loads((tmp_path / "whole" / "config.json").read_text())
    for words, said in (
        ({"a b": 1}, "no words"), ({"x": 0}, "no words"), ({"x": 1.5}, "no words"), (["x"], "no words"),
        ({"x" * 300: 1}, "no words"), ({"x": 1000}, "larger than what the file holds"),
    ):  # fmt: skip
        told_of["learned"]["concepts"] = words
        (tmp_path / "whole" / "config.json").write_text(json.dumps(told_of))
        with pytest.raises(DataError, match=said):
            diffexp.load(tmp_path / "whole")


def test_words_and_adapters_are_added_in_any_order(runs):
    word, below = runs.trained(*line(runs, *ONE)), restore(base(runs))
    typed = [text for text in line(runs) if not text.startswith(("tune", "data.path"))]
    known = f"data.path={runs.folder / 'known'}"
    lora = runs.trained(*typed, known, "tune=lora", "tune.text_encoder=true", "trainer.max_steps=2")
    a = added(below, [str(word), str(lora)], [1, 0.5])
    b = added(below, [str(lora), str(word)], [0.5, 1])
    assert same(told(a.model), told(b.model)) and not same(told(a.model), told(diffexp.load(word)))
    none = added(below, [str(word)], [0]).model.state_dict()
    assert none.keys() == below.model.state_dict().keys()
    with pytest.raises(ConfigError, match=r"<thing> is a word, and has no scale: 0\.5"):
        added(below, [str(word)], [0.5])
    with pytest.raises(DataError, match="<thing> is a word that the base knows"):
        added(below, [str(word), str(word)], [1, 1])


def test_a_word_of_another_base_is_refused(runs, tmp_path, capsys):
    run, other = runs.trained(*line(runs, *ONE)), restore(base(runs))
    next(other.model.denoiser.parameters()).add_(1)
    go(tmp_path / "alone", "task=export", f"task.ckpt={run}", "logger=none", "task.merge=false")
    moved = shutil.copy(tmp_path / "alone" / "learned_embeds.safetensors", tmp_path / "x.safetensors")
    for path in (run, moved):
        with pytest.raises(DataError, match=r"trained on other weights than those of task\.ckpt"):
            added(other, [str(path)], [1])
    added(other, [str(moved)], [1], base="any")
    assert "are added all the same (tune.base=any)" in capsys.readouterr().err


def test_files_of_others_are_read_and_strange_ones_are_not(runs, tmp_path):
    below, file = restore(base(runs)), tmp_path / "cat-toy.safetensors"
    vectors = torch.randn(2, 8)
    for state, word in (({"emb_params": vectors}, "cat-toy"), ({"<cat>": vectors[0]}, "<cat>")):
        save_file(state, file)
        made = added(below, [str(file)], [1]).model.conditioning.encoder.concepts.vectors()
        assert list(made) == [word] and torch.equal(made[word], vectors[: len(made[word])])
    for state, said in (
        ({"<cat>": torch.ones(2, 9)}, "<cat> has vectors of 9 numbers, and those of the model have 8"),
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
    ("options", "said"),
    [
        ({"init": "thre"}, r"init='thre': the base does not know thre \(nearest: three\)\n.*\n.*init=three"),
        ({"init": "red thre"}, r"does not know thre .*\n.*\n  do: type tune\.init='red three', or null"),
        ({"init": ["red", "three"]}, r"init=\['red', 'three'\]\n.*\n  do: type tune\.init='red three', with"),
        ({"init": ""}, "does not know any word of it"),
        ({"word": "three"}, r"three is a word that the base knows\n  at: tune.word\n.*<three-2>"),
        ({"word": "a.b"}, "without blanks and points"),
        ({"word": "a b"}, "without blanks and points"),
        ({"word": 7}, "without blanks and points"),
        ({"vectors": 0}, "vectors=0"),
        ({"vectors": 1001}, "give at most 1,000"),
        ({"vectors": 8}, r"is cut off in each caption: 7 words are read\n.*\n  do: give fewer"),
        ({"word": "<thin>"}, r"no caption of the training images has the word <thin>\n.*\n.*prefix="),
    ],
)
def test_what_makes_no_word_is_refused(runs, options, said):
    model = diffexp.load(base(runs))
    with pytest.raises(ConfigError, match=said):
        tune = Concept(**{"word": "<thing>"} | options)
        tune.apply(model)
        tune.check_captions(model, NEW)


def test_a_word_of_a_frozen_encoder_is_learned_and_kept(runs, tmp_path):
    model("bert").save_pretrained(tmp_path / "bert")
    tokenizer(True).save_pretrained(tmp_path / "bert")
    typed = [
        "text_encoder=transformers",
        f"text_encoder.model={tmp_path / 'bert'}",
        "text_encoder.cache=null",
    ]
    typed = [*typed, "trainer.max_steps=2"]
    known = [text for text in TYPED if not text.startswith("text_encoder")]
    base(runs)  # and its images
    below = runs.trained(*known, f"data.path={runs.folder / 'known'}", "optimizer.lr=0.01", *typed)
    new = [text for text in line(runs, *ONE, below=below) if not text.startswith("text_encoder")]
    go(tmp_path / "run", *new, *typed)
    kept = held(tmp_path / "run")
    begun = of_run(below).frozen.embeddings()[[7]]
    assert list(kept["trained"]) == [TUNED] and (kept["trained"][TUNED] - begun).abs().max() > 1e-3
    go(tmp_path / "whole", "task=export", f"task.ckpt={tmp_path / 'run'}", "logger=none")
    whole, run = diffexp.load(tmp_path / "whole"), diffexp.load(tmp_path / "run")
    assert whole.conditioning.learned() == {"concepts": {"<thing>": 1}}
    assert same(told(whole), told(run)) and not same(told(run), told(diffexp.load(below)))
    assert same(told(run, *KNOWN), told(diffexp.load(below), *KNOWN))


def test_it_is_refused_before_there_is_a_folder(runs, tmp_path, capsys):
    for typed, said in (
        (["tune.word='<thin>'"], "no caption of the training images has the word <thin>"),
        (["tune.init=thre"], "the base does not know thre"),
    ):
        with pytest.raises(ConfigError, match=said):
            go(tmp_path / "x", *line(runs, *typed))
    with pytest.raises(ConfigError, match="the model reads no captions"):
        Concept("<thing>").apply(diffexp.load(runs.base()))
    go(tmp_path / "x", *line(runs, "tune.vectors=2"), "dry_run=true")
    out = capsys.readouterr().out
    assert "Concept: <thing> is learned, 2 vectors of 8 numbers" in out
    assert "3 of 3 captions with <thing> are cut: 7 words are read, and the longest has 8" in out
    assert not (tmp_path / "x").exists()


def test_words_that_the_base_does_not_know_are_said_with_the_nearest(runs, tmp_path, capsys):
    """Those of the training captions, with how to learn one, and those of the negative."""
    typed = [text for text in line(runs) if not text.startswith("tune")]
    typed += ["tune=lora", "dry_run=true", "evaluator.negative='a thre'"]
    go(tmp_path / "x", *typed)
    said = capsys.readouterr()
    wanted = r"that the base does not know are left out: <, thing, >; tune=concept tune.word=thing learns"
    (found,) = [x for x in said.out.splitlines() if "left out" in x]
    assert re.search(wanted, found), found
    assert "words of evaluator.negative that the model does not know: thre (nearest: three)\n" in said.err
    go(tmp_path / "x", *line(runs), "dry_run=true")
    assert "left out" not in capsys.readouterr().out


def test_options_of_captions_that_there_are_none_of_are_said(runs, tmp_path, capsys):
    for i in range(12):
        folder = tmp_path / "bare"
        folder.mkdir(exist_ok=True)
        shutil.copy(sorted((runs.folder / "known").glob("*.png"))[i], folder)
    typed = [*(text for text in line(runs) if "data.path" not in text), f"data.path={folder}"]
    with pytest.raises(ConfigError, match=r"the data has none\n.*\n  do: .* give these: write a\.txt beside"):
        go(tmp_path / "x", *typed, 'data.caption.prefix="<thing> "')
    said = capsys.readouterr().err
    assert f"data.caption does nothing, for the pictures of {folder} have no captions: write a.txt" in said


def test_a_suggested_caption_is_one_of_the_data(runs, tmp_path, capsys):
    go(tmp_path / "run", *line(runs, *ONE), "trainer.max_steps=1")
    said = re.findall(r"""'task.prompts=\["(.*)"\]'""", capsys.readouterr().out)
    assert said[-1] in NEW
