"""DINOv2 and CLIP with random weights, small, in the folders that transformers writes: the whole way."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from diffexp.data import Batch, Digits, Folder
from diffexp.errors import ConfigError, DataError
from diffexp.metrics import CMMD, FID, CLIPEmbedding, CLIPScore, Dinov2, MetricSet
from diffexp.metrics.extractor import extract

transformers = pytest.importorskip("transformers")
LAYERS = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}


@pytest.fixture(scope="module")
def dinov2(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "dinov2-tiny"
    torch.manual_seed(0)
    config = transformers.Dinov2Config(**LAYERS, image_size=518, patch_size=14)
    transformers.Dinov2Model(config).save_pretrained(folder)
    return folder


def pictures(n, size):
    """Smooth ones, uint8 (n, 3, *size): what becomes of noise depends on each resizer's rounding."""
    x = torch.randn(n, 3, 5, 5, generator=torch.Generator().manual_seed(1))
    x = torch.nn.functional.interpolate(x, size, mode="bicubic")
    return (x * 60 + 128).clamp(0, 255).to(torch.uint8)


@pytest.mark.parametrize("size", [(20, 20), (50, 50), (300, 300), (20, 50), (300, 100)])
def test_features_are_those_of_the_models_own_preparation_of_images(dinov2, clip, size):
    images = pictures(4, size)
    pils = [Image.fromarray(i.permute(1, 2, 0).numpy()) for i in images]
    side = {"height": 224, "width": 224}
    prepare = transformers.BitImageProcessorPil(size=side, crop_size=side, do_convert_rgb=True,
        image_mean=Dinov2.mean, image_std=Dinov2.std, resample=3, do_center_crop=False)  # fmt: skip
    net = transformers.Dinov2Model.from_pretrained(dinov2).eval()
    mine = Dinov2(str(dinov2))
    mine.check((3, *size))
    with torch.no_grad():
        want = net(**prepare(pils, return_tensors="pt")).pooler_output
    assert (extract(mine, images) - want).abs().max() < 0.02 * want.std()
    side = {"height": 32, "width": 32}
    prepare = transformers.CLIPImageProcessorPil(size=side, do_center_crop=False)
    net = transformers.CLIPModel.from_pretrained(clip).eval()
    mine = CLIPEmbedding(str(clip))
    mine.check((3, *size))
    with torch.no_grad():
        want = net.get_image_features(**prepare(pils, return_tensors="pt")).pooler_output
    assert (extract(mine, images) - want).abs().max() < 0.02 * want.std()
    assert (mine.dim, mine.name) == (16, "clip-tiny")


def test_captions_are_cut_before_their_end(clip):
    mine = CLIPEmbedding(str(clip))
    mine.check((3, 32, 32))
    short, long = mine.texts(["a cat", "ab" * 100])
    assert mine.cut.tolist() == [False, True]
    words = transformers.CLIPTokenizer.from_pretrained(clip)
    ids = words(["ab" * 100], return_tensors="pt").input_ids
    assert ids.shape == (1, 202) and ids[0, -1] == words.eos_token_id
    with torch.no_grad():
        want = mine.net.get_text_features(torch.cat([ids[:, :76], ids[:, -1:]], 1)).pooler_output[0]
    assert torch.allclose(long, want, atol=1e-5) and not torch.allclose(short, want, atol=1e-2)


def test_cmmd_of_known_embeddings():
    x, y = torch.tensor([[2.0, 0]]), torch.tensor([[0, 5.0]])  # unit vectors √2 apart
    assert CMMD().of(x, y)["cmmd"] == pytest.approx(1000 * 2 * (1 - np.exp(-2 / 200)), rel=1e-12)
    many = torch.randn(50, 8, generator=torch.Generator().manual_seed(0))
    assert CMMD().of(many, many)["cmmd"] == pytest.approx(0, abs=1e-9)
    far = CMMD().of(many, many + 3)["cmmd"]
    assert 0 < CMMD().of(many, many + 1)["cmmd"] < far


def test_clip_score_is_the_cosine_of_image_and_caption(clip):
    data, extractor, score = Digits(), CLIPEmbedding(str(clip)), CLIPScore("the digit {}")
    whole = MetricSet(20, extractor, [score, CMMD(cache=None)])
    whole.prepare(data)
    labels = torch.arange(20) % 10
    texts = extractor.texts([f"the digit {name}" for name in data.classes])
    score.update(Batch(torch.zeros(20), labels, None, labels), 7 * texts[labels])
    assert score.compute()["clip_score_clip-tiny"] == pytest.approx(100, abs=1e-4)
    whole.reset()
    images = data.split("test").batch(torch.arange(20)).image
    whole.update(images, labels)
    found = whole.compute()
    image, text = (torch.nn.functional.normalize(v) for v in (extract(extractor, images), texts[labels]))
    want = 100 * (image * text).sum(1).clamp(min=0).mean()
    assert found["clip_score_clip-tiny"] == pytest.approx(float(want), abs=1e-3)
    assert found["cmmd_clip-tiny"] >= 0
    assert whole.cards["clip_score_clip-tiny"]["caption"] == "the digit {}"
    assert len(whole.cards["cmmd_clip-tiny"]["sha256"]) == 12


def test_clip_score_of_captions_is_that_of_each_image_with_its_own(clip, tmp_path):
    """Of a folder of images with captions, of which one is longer than the model reads."""
    rows = []
    for i, image in enumerate(pictures(40, 16)):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(tmp_path / f"{i:02d}.png")
        text = f"thing {i} " + "ab" * 80 * (i == 7)
        rows.append(json.dumps({"file_name": f"{i:02d}.png", "text": text, "kind": str(i % 2)}))
    (tmp_path / "metadata.jsonl").write_text("\n".join(rows))
    data, extractor = Folder(str(tmp_path), 16, label="kind", test=0.5), CLIPEmbedding(str(clip))
    whole = MetricSet(40, extractor, [CLIPScore()])
    whole.prepare(data)

    def want(images, captions):
        unit = torch.nn.functional.normalize
        return float(100 * (unit(extract(extractor, images)) * unit(extractor.texts(captions))).sum(1)
            .clamp(min=0).mean())  # fmt: skip

    batch, test = data.everything().batch(torch.arange(40)), data.split("test").batch(torch.arange(20))
    for half in torch.arange(40).split(20):
        whole.update(batch.image[half], batch.label[half], [batch.text[i] for i in half])
    key = "clip_score_clip-tiny"
    assert whole.compute()[key] == pytest.approx(want(batch.image, batch.text), abs=1e-4)
    card = whole.cards[key]
    assert (card["n"], card["captions_cut"], card["caption"]) == (40, 1, "of each image")
    assert card["real_test"] == pytest.approx(want(test.image, test.text), abs=1e-4)
    whole.reset()
    whole.update(batch.image, batch.label)  # as a model of classes does, which knows no captions
    names = [f"a photo of a {kind}" for kind in batch.label.tolist()]
    assert whole.compute()[key] == pytest.approx(want(batch.image, names), abs=1e-4)
    names = [f"a photo of a {kind}" for kind in test.label.tolist()]
    assert whole.cards[key]["real_test"] == pytest.approx(want(test.image, names), abs=1e-4)
    assert whole.cards[key]["captions_cut"] == 0


def test_clip_score_needs_something_to_compare_with(clip, tmp_path):
    for i in range(3):
        Image.new("RGB", (8, 8)).save(tmp_path / f"{i}.png")
    extractor = CLIPEmbedding(str(clip))
    with pytest.raises(ConfigError, match="has neither"):
        CLIPScore().check(Folder(str(tmp_path), 8), extractor)
    for i in range(3):
        (tmp_path / f"{i}.txt").write_text("nothing")
    CLIPScore().check(Folder(str(tmp_path), 8), extractor)


def test_fid_by_dinov2(dinov2):
    found = MetricSet(40, Dinov2(str(dinov2)), [FID("test", cache=None)])
    data = Digits()
    found.prepare(data)
    found.update(data.split("test").batch(torch.arange(40)).image)
    assert 0 < found.compute()["fid_dinov2-tiny"] < 1e4


@pytest.mark.parametrize(
    "model, sha256, told",
    [
        ("/nowhere/at_all", None, "is no folder, and cannot be downloaded"),
        ("empty", None, "there are no weights in this folder"),
        ("dinov2", "0" * 64, "the sha256 of this file is"),
        ("clip", None, r"this is not a folder of Dinov2 \(no "),
        ("code", None, "this is not a folder of Dinov2"),
    ],
)
def test_other_folders_are_refused(dinov2, clip, tmp_path, monkeypatch, model, sha256, told):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (tmp_path / "empty").mkdir()
    bad = tmp_path / "code"
    bad.mkdir()
    (bad / "config.json").write_text((dinov2 / "config.json").read_text())
    torch.save({"weights": Runs(tmp_path / "was_run")}, bad / "pytorch_model.bin")
    where = {"dinov2": dinov2, "clip": clip, "empty": tmp_path / "empty", "code": bad}.get(model, model)
    with pytest.raises(DataError, match=told):
        Dinov2(str(where), sha256).check((3, 32, 32))
    assert not (tmp_path / "was_run").exists()


class Runs:
    """Writes a file where it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_metrics_of_clip_need_clip():
    for metric in (CMMD(), CLIPScore()):
        with pytest.raises(ConfigError, match=r"needs CLIP's embeddings|needs an extractor"):
            metric.check(Digits(), None)
    with pytest.raises(ConfigError, match="caption=a photo"):
        CLIPScore("a photo")
