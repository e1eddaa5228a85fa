"""Several captions an image, and tags: what training draws is a function of (seed, epoch, index)."""

import json

import pytest
import torch
from test_folder import paint

from diffexp.data import Captions, Folder, InMemory, Texts
from diffexp.data.loader import TrainLoader
from diffexp.data.order import TrainOrder
from diffexp.errors import ConfigError, DataError
from diffexp.training import DataModule

TAGS = "one, two,three ,, four, five"


def drawn(options, text=TAGS, draws=range(400)):
    return [options.drawn([text], 3, epoch, torch.tensor([epoch % 7]))[0] for epoch in draws]


def folder(root, rows):
    names = [f"{i:02d}.png" for i in range(len(rows))]
    paint(root, names)
    lines = (json.dumps({"file_name": n, "text": t}) for n, t in zip(names, rows, strict=True))
    (root / "metadata.jsonl").write_text("\n".join(lines))
    return str(root)


def seen(images, batches, start=0, rank=0, world=1, seed=5):
    """The captions of a training, by (batch, place)."""
    order = TrainOrder(len(images), 4, seed, rank, world)
    loader = TrainLoader(images, order, True, 0, lambda: start)
    return [b.text for _, b in zip(range(batches), loader, strict=False)]


@pytest.mark.parametrize("stream", [False, True])
def test_one_of_several_is_drawn_in_each_epoch(tmp_path, stream):
    rows = [[f"{i} a", f"{i} b", f"{i} c"] if i % 2 else f"{i} alone" for i in range(20)]
    data = Folder(folder(tmp_path, rows), 4, mode="L", stream=stream)
    module = DataModule(data, batch_size=4, seed=5)
    train = data.split("train")
    seen_of = {}
    for epoch in range(30):
        module._processed = lambda e=epoch: e * (len(train) // 4)
        for batch in module.train_dataloader():
            for text, grey in zip(batch.text, batch.image[:, 0, 0, 0].tolist(), strict=True):
                assert text.split()[0] == str(grey)
                seen_of.setdefault(grey, set()).add(text.split()[1])
    assert all(s == ({"a", "b", "c"} if grey % 2 else {"alone"}) for grey, s in seen_of.items())
    for split in ("train", "val", "test"):  # in order, as validation and evaluation see them: the first one
        texts = [text for batch in data.batches(split, 5) for text in batch.text]
        assert texts == data.split(split).texts and all(t.split()[1] in ("a", "alone") for t in texts)


def test_each_of_several_is_drawn_as_often():
    texts = Texts.of([["a", "b", "c"]])
    draws = [texts.drawn(0, epoch, torch.tensor([0]))[0] for epoch in range(3000)]
    assert [draws.count(letter) for letter in "abc"] == pytest.approx([1000] * 3, abs=90)


def test_a_run_that_goes_on_and_two_ranks_see_the_same():
    several = [[f"{i}, x, y, z", f"{i} other, p, q"] for i in range(22)]
    texts = Texts.of(several, Captions(shuffle=True, dropout=0.3, keep=1))
    images = InMemory(torch.zeros(22, 1, 2, 2, dtype=torch.uint8), None, texts)
    whole = [text for start in range(0, 15, 5) for text in seen(images, 5, start)]
    assert seen(images, 5, 5) == whole[5:10] and whole[:5] != whole[5:10]
    halves = [seen(images, 5, 5, rank, 2) for rank in (0, 1)]
    assert [a + b for a, b in zip(*halves, strict=True)] == whole[5:10]
    assert seen(images, 5, 5, seed=6) != whole[5:10]
    order = TrainOrder(22, 4, 5)
    expected = [texts.drawn(5, *order.batch(number)) for number in range(15)]
    assert whole == expected and {order.batch(number)[0] for number in range(15)} == {0, 1, 2}


def test_a_part_of_a_split_keeps_its_captions():
    texts = Texts.of([["a"], ["b", "c"], ["d", "e"]]).select(torch.tensor([2, 0, 1]))
    assert [texts[i] for i in range(3)] == [("d", "e"), ("a",), ("b", "c")]
    assert texts.first == ["d", "a", "b"] and sorted(texts.every()) == list("abcde")


def test_shuffled_tags_are_the_same_tags():
    draws = drawn(Captions(shuffle=True))
    assert {tuple(sorted(text.split(", "))) for text in draws} == {("five", "four", "one", "three", "two")}
    first = [text.split(",")[0] for text in draws]
    assert min(first.count(tag) for tag in set(first)) > 50 and len(set(draws)) > 90  # of 120 orders
    kept = drawn(Captions(shuffle=True, keep=2))
    assert {text[:9] for text in kept} == {"one, two,"} and len(set(kept)) == 6


def test_tags_are_left_out_with_their_probability_but_for_the_first():
    draws = [set(text.split(", ")) for text in drawn(Captions(dropout=0.25, keep=1), draws=range(4000))]
    share = [sum(tag in tags for tags in draws) / 4000 for tag in ("one", "two", "three", "four", "five")]
    assert share == pytest.approx([1, 0.75, 0.75, 0.75, 0.75], abs=0.025)
    both = sum({"two", "five"} <= tags for tags in draws) / 4000
    assert both == pytest.approx(0.75**2, abs=0.03)  # each for itself
    assert set(drawn(Captions(dropout=1.0, keep=2))) == {"one, two"}
    assert set(drawn(Captions(dropout=1.0, prefix="<", suffix=">"))) == {"<>"}


def test_prefix_and_suffix_stand_in_training_and_in_validation():
    options = Captions(prefix="a photo of ", suffix=", 8 bit")
    texts = Texts.of([["cats, dogs ,"]], options)
    assert texts.first == ["a photo of cats, dogs ,, 8 bit"] == texts.drawn(0, 0, torch.tensor([0]))
    tagged = Texts.of([["cats, dogs ,"]], Captions(shuffle=True, prefix="a photo of "))
    assert tagged.first == ["a photo of cats, dogs"]
    both = {"a photo of cats, dogs", "a photo of dogs, cats"}
    assert {tagged.drawn(0, epoch, torch.tensor([0]))[0] for epoch in range(40)} == both


def test_the_lines_of_a_text_beside_an_image(tmp_path):
    paint(tmp_path, [f"{i}.png" for i in range(5)])
    for i in range(5):
        (tmp_path / f"{i}.txt").write_text(f"grey {i}\r\n\n  \nshade {i}\n")
    assert Folder(str(tmp_path), 4).texts[3] == "grey 3\n\n  \nshade 3"
    data = Folder(str(tmp_path), 4, caption=Captions(lines=True))
    assert [data.captions[i] for i in range(5)] == [(f"grey {i}", f"shade {i}") for i in range(5)]


@pytest.mark.parametrize("texts", [[], [""]])
def test_an_image_without_a_caption_in_its_list(tmp_path, texts):
    with pytest.raises(DataError, match="the line of this image has no text"):
        Folder(folder(tmp_path, ["a", texts, "b"]), 4).check()
    assert Folder(folder(tmp_path, ["a", ["", "c"], "b"]), 4).texts == ["a", "c", "b"]


def test_a_list_that_is_no_list_of_texts_stays_what_it_was(tmp_path):
    path = folder(tmp_path, [["a", "b"], [1, 2], "c"])
    assert Folder(path, 4).texts == ["a", "[1, 2]", "c"]
    assert Folder(path, 4, label="text").classes == ("['a', 'b']", "[1, 2]", "c")
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "00.png", "text": ["\\ud800"]}')
    with pytest.raises(DataError, match="holds what is no text"):
        Folder(path, 4).check()


def test_what_is_trained_on_is_in_the_fingerprint(tmp_path):
    rows = [[f"{i} a", f"{i} b"] for i in range(9)]
    path = folder(tmp_path, rows)

    def print_of(**options):
        return Folder(path, 4, caption=Captions(**options)).fingerprint("train")

    plain = print_of()
    assert plain == print_of(clean=("whitespace",)) == print_of(dropout=0.5)  # here they leave all as it is
    assert len({plain, print_of(prefix="x"), Folder(path, 4, text="none").fingerprint("train")}) == 3
    folder(tmp_path, [[f"{i} a", f"{i} c"] for i in range(9)])
    assert print_of() != plain
    folder(tmp_path, [f"{i} a" for i in range(9)])
    assert print_of() != plain


@pytest.mark.parametrize(
    ("options", "where"),
    [
        ({"keep": -1}, "data.caption.keep"),
        ({"dropout": 1.5}, "data.caption.dropout"),
        ({"dropout": float("nan")}, "data.caption.dropout"),
        ({"clean": ("htm",)}, "data.caption.clean"),
    ],
)
def test_options_that_are_none(options, where):
    with pytest.raises(ConfigError) as error:
        Captions(**options)
    assert error.value.where == where
    assert "clean" not in options or error.value.do == "type html"
