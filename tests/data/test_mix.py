"""Mixtures: their shares, that no image is left out, and that batches are those of the parts."""

import pytest
import torch

from diffexp.data import Captions, DataSet, InMemory, Mix, Splits, Stream, Texts
from diffexp.data.loader import TrainLoader
from diffexp.data.mixed import Mixed, repeated
from diffexp.data.order import TrainOrder
from diffexp.errors import ConfigError


class Some(DataSet):
    """`count` images whose pixels are base, base + 1, ..., with the captions "name 0", "name 1", ..."""

    def __init__(self, name, count, base, size=2, told=True, options=None, classes=None):
        self.name, self.count, self.base, self.size, self.told = name, count, base, size, told
        self.options, self._classes = options or Captions(), classes

    @property
    def shape(self):
        return 1, self.size, self.size

    @property
    def classes(self):
        return self._classes

    def read(self):
        def part(first, count):
            image = (torch.arange(count) + first).to(torch.uint8).view(-1, 1, 1, 1)
            texts = [[f"{self.name} {i}, small"] for i in range(count)]
            labels = torch.arange(count) % len(self.classes) if self.classes else None
            images = image.expand(-1, 1, self.size, self.size)
            return InMemory(images, labels, Texts.of(texts, self.options) if self.told else None)

        return Splits(part(self.base, self.count), part(self.base + 200, 2), part(self.base + 210, 2))


def mixed(**more):
    return Mix({"few": Some("few", 3, 0), "many": Some("many", 10, 100)}, **more)


@pytest.mark.parametrize(
    ("lengths", "weights", "counts"),
    [
        ({"a": 10, "b": 1000}, {"a": 1, "b": 1}, {"a": 1000, "b": 1000}),
        ({"a": 10, "b": 1000}, {"a": 0.1, "b": 0.3}, {"a": 334, "b": 1000}),
        ({"a": 10, "b": 10}, {"a": 0.3, "b": 0.1}, {"a": 30, "b": 10}),
        ({"a": 7}, {"a": 0.2}, {"a": 7}),
    ],
)
def test_parts_are_repeated_until_their_shares_are_the_weights(lengths, weights, counts):
    assert repeated(lengths, weights) == counts


def test_each_image_is_there_and_as_often_as_the_others_up_to_one_time():
    train = mixed(weights={"few": 2}).split("train")
    assert len(train) == 30 and train.counts == [20, 10]
    images = train.batch(torch.arange(30)).image[:, 0, 0, 0].tolist()
    assert sorted(images.count(i) for i in (0, 1, 2)) == [6, 7, 7]
    assert [images.count(i) for i in range(100, 110)] == [1] * 10


def test_a_batch_has_the_images_and_the_captions_of_the_parts_in_order():
    train = mixed().split("train")
    index = torch.tensor([12, 0, 19, 4, 0])
    batch = train.batch(index)
    assert torch.equal(batch.index, index) and batch.label is None
    assert batch.image[:, 0, 0, 0].tolist() == [102, 0, 109, 1, 0]
    assert batch.text == ["many 2, small", "few 0, small", "many 9, small", "few 1, small", "few 0, small"]
    assert train.captions[12] == ("many 2, small",) and train.captions.every()[0] == "few 0, small"
    assert train.captions.select(index).first == batch.text


def test_captions_are_drawn_by_the_options_of_their_part():
    tags = Captions(dropout=1.0, keep=1, prefix="a ")
    data = Mix({"few": Some("few", 3, 0, options=tags), "many": Some("many", 10, 100)})
    train = data.split("train")
    loader = TrainLoader(train, TrainOrder(len(train), 20, 0), False, 0, lambda: 0)
    (batch,) = loader
    pairs = sorted(zip(batch.image[:, 0, 0, 0].tolist(), batch.text, strict=True))
    assert pairs[0] == (0, "a few 0") and pairs[-1] == (109, "many 9, small")
    assert train.texts[0] == "a few 0, small"


def test_a_prompt_is_the_caption_of_all_images_of_a_part():
    data = Mix(
        {"few": Some("few", 3, 0, told=False), "many": Some("many", 10, 100)},
        prompts={"few": "a thing", "many": None},
    )
    assert data.split("train").texts[9:11] == ["a thing", "many 0, small"]
    assert data.split("val").texts == ["a thing"] * 2 + ["many 0, small", "many 1, small"]


def test_what_is_left_out_has_no_training_images():
    train = mixed(weights={"many": 0}).split("train")
    assert len(train) == 3 and train.texts == ["few 0, small", "few 1, small", "few 2, small"]


def test_validation_is_that_of_all_parts_or_of_one():
    assert len(mixed().split("val")) == 4
    data = mixed(val="many")
    assert data.split("test") is data.parts["many"].split("test")
    assert data.shape == (1, 2, 2) and data.name == "mix_few_many"


def test_classes_are_there_where_they_are_the_same():
    same = Mix({"a": Some("a", 3, 0, classes=("x", "y")), "b": Some("b", 2, 9, classes=("x", "y"))})
    assert same.split("train").batch(torch.tensor([1, 4])).label.tolist() == [1, 1]
    assert same.counts("train") == {"x": 4, "y": 2}
    other = Mix({"a": Some("a", 3, 0, classes=("x", "y")), "b": Some("b", 2, 9)})
    assert other.classes is None and other.split("train").labels is None


def test_an_image_in_the_place_of_a_broken_one_has_its_own_caption(tmp_path):
    from diffexp.errors import DataError

    def load(file):
        if file.name == "1":
            raise DataError("broken", str(file))
        return torch.full((1, 2, 2), int(file.name), dtype=torch.uint8)

    files = [tmp_path / str(i) for i in range(3)]
    stream = Stream(files, None, load, "", skip=True, texts=["zero", "one", "two"])
    both = Mixed({"m": InMemory(torch.zeros(4, 1, 2, 2), None, ["m"] * 4), "s": stream}, {"m": 4, "s": 5})
    batch = both.batch(torch.tensor([5, 0, 4, 7]))
    assert both.streams and batch.index.tolist() == [6, 0, 4, 7]
    assert batch.text == ["two", "m", "zero", "zero"]


def test_the_fingerprint_follows_images_weights_and_captions():
    several = [
        mixed(), mixed(weights={"few": 2}), mixed(prompts={"few": "a thing"}),
        Mix({"few": Some("few", 3, 1), "many": Some("many", 10, 100)}),
    ]  # fmt: skip
    prints = [data.fingerprint("train") for data in several]
    assert len(set(prints)) == 4 and prints[0] == mixed().fingerprint("train")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"weights": {"meny": 1}}, "the mixture has no part meny"),
        ({"weights": {"few": -1}}, "-1 is no weight"),
        ({"weights": {"few": "x"}}, "'x' is no weight"),
        ({"weights": {"few": 0, "many": 0}}, "all weights are 0"),
        ({"weights": [1, 2]}, r"weights=\[1, 2\]"),
        ({"val": "all"}, "the mixture has no part all"),
        ({"parts": {}}, "a mixture of nothing"),
        ({"parts": {"few": 3}}, "int is no data set"),
    ],
)
def test_what_is_no_mixture_is_refused(options, said):
    with pytest.raises(ConfigError, match=said):
        Mix(**{"parts": {"few": Some("few", 3, 0), "many": Some("many", 10, 100)}, **options})


@pytest.mark.parametrize(
    ("other", "options", "said"),
    [
        (Some("b", 4, 9, size=3), {}, r"have different shapes: a \(1, 2, 2\), b \(1, 3, 3\)"),
        (Some("b", 4, 9, told=False), {}, "a has captions, and b has none"),
        (Some("b", 4, 9), {"weights": {"a": 1e-8}}, "the images of an epoch are 300,000,003"),
    ],
)
def test_parts_that_do_not_fit_are_refused_when_they_are_trained_on(other, options, said):
    data = Mix({"a": Some("a", 3, 0), "b": other}, **options)
    data.check()
    with pytest.raises(ConfigError, match=said):
        data.split("train")
