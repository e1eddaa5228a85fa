"""Weights files of a stranger: damaged in each way that a fixed seed finds, they are data errors."""

import json
import resource
import zipfile

import pytest
import torch
from safetensors.torch import load_file, save_file
from torchvision.models import squeezenet1_1

from diffexp.errors import DataError
from diffexp.hub import check_folder
from diffexp.metrics import LPIPS, Inception, SmallClassifier
from diffexp.metrics.classifier import SHIPPED
from diffexp.metrics.weights import state_dict
from diffexp.randomness import generator

ABOUT = {"data": "digits", "shape": [1, 8, 8], "classes": 10}
STATE = load_file(SHIPPED / "digits.safetensors")


def damaged(whole, rounds, head=400):
    """A file cut, and with flipped bits; as often in its head, where the names and sizes are."""
    draw = generator(0, "fuzz weights")
    for k in range(rounds):
        end = head if k % 2 else len(whole)
        at, bit, cut = (int(torch.randint(n, (1,), generator=draw)) for n in (min(end, len(whole)), 8, 3))
        if cut:
            yield whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :]
        else:
            yield whole[:at]


def refused(file, load, contents):
    """How many of the contents were refused; the others made features that are finite, or nothing."""
    count = 0
    for content in contents:
        file.write_bytes(content)
        try:
            load(str(file))
        except DataError as error:
            assert error.where == str(file) and "\n" not in error.what
            count += 1
    return count


def classified(path):
    net = SmallClassifier(path)
    assert net.head[-1].weight.dtype == torch.float32 and net.classes == 10
    assert net(torch.zeros(1, *net.shape, dtype=torch.uint8)).isfinite().all()


def test_a_damaged_classifier(tmp_path):
    file = tmp_path / "net.safetensors"
    save_file(STATE, file, {"about": json.dumps(ABOUT)})
    classified(str(file))
    assert refused(file, classified, damaged(file.read_bytes(), 600, 1200)) > 200


@pytest.mark.parametrize(
    "about",
    [
        None, [], 7, "digits", {}, ABOUT | {"shape": 8}, ABOUT | {"shape": [1, 8]},
        ABOUT | {"shape": ["1", "8", "8"]},
        ABOUT | {"shape": [3, 8, 8]}, ABOUT | {"shape": [1, -8, 8]}, ABOUT | {"shape": [1, 10**9, 8]},
        ABOUT | {"shape": None}, ABOUT | {"classes": "10"}, ABOUT | {"classes": 0}, ABOUT | {"classes": 11},
        ABOUT | {"classes": 10**30}, ABOUT | {"classes": True}, ABOUT | {"classes": 10.0},
        ABOUT | {"data": 7}, ABOUT | {"data": "../../x"}, ABOUT | {"data": "a\x1b[2Jb"}, ABOUT | {"data": ""},
        ABOUT | {"data": "a" * 300},
    ],
)  # fmt: skip
def test_a_classifier_that_tells_nonsense_of_itself(tmp_path, about):
    file = tmp_path / "net.safetensors"
    save_file(STATE, file, {"about": json.dumps(about)})
    with pytest.raises(DataError, match="not a weights file of a classifier"):
        SmallClassifier(str(file))
    for text in ("[" * 100_000, "9" * 5000, "{", ""):
        save_file(STATE, file, {"about": text})
        with pytest.raises(DataError, match="not a weights file of a classifier"):
            SmallClassifier(str(file))


NAME = "body.0.weight"


@pytest.mark.parametrize(
    "change",
    [
        lambda s: {k: v for k, v in s.items() if k != NAME},
        lambda s: s | {"more": torch.zeros(1)},
        lambda s: s | {NAME: s[NAME][:3].clone()},
        lambda s: s | {NAME: s[NAME].to(torch.int8)},
        lambda s: s | {NAME: s[NAME].float().to(torch.complex64)},
        lambda s: s | {NAME: s[NAME] * torch.nan},
        lambda s: {},
    ],
    ids=["missing", "more", "shape", "integers", "complex", "nan", "empty"],
)
def test_a_classifier_of_other_tensors(tmp_path, change):
    file = tmp_path / "net.safetensors"
    save_file(change(STATE), file, {"about": json.dumps(ABOUT)})
    with pytest.raises(DataError, match=r"not a weights file of a classifier \(.+\)"):
        SmallClassifier(str(file))


@pytest.mark.parametrize("path", ["", "~nobody-has-this-name/x", "a" * 300, "a\0b", "/dev/null", "/"])
def test_what_is_no_file_of_weights(path):
    with pytest.raises(DataError, match="no such weights file"):
        SmallClassifier(path)
    if path:
        with pytest.raises(DataError, match="no such weights file"):
            Inception(weights=path).check((3, 32, 32))


@pytest.fixture(scope="module")
def trunk():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return squeezenet1_1(weights=None).state_dict()


def distance(path):
    far = LPIPS(net="squeeze", weights=path)
    far.check()
    assert far(torch.zeros(1, 1, 16, 16), torch.ones(1, 1, 16, 16)).shape == (1,)


def test_a_damaged_trunk(tmp_path, trunk):
    file = tmp_path / "trunk.pth"
    torch.save(trunk, file)
    whole = file.read_bytes()
    contents = [*damaged(whole, 24), *damaged(whole[-9000:], 24)]
    tails = [whole[:-9000] + tail for tail in contents[24:] if len(tail) == 9000]
    assert refused(file, distance, [*contents[:24], *tails]) > 8


SHORT = "features.0.weight"


@pytest.mark.parametrize(
    "change",
    [
        lambda s: list(s.values()),
        lambda s: None,
        lambda s: {},
        lambda s: {7: torch.zeros(3)} | s,
        lambda s: s | {SHORT: s[SHORT][:3]},
        lambda s: s | {SHORT: s[SHORT] * torch.inf},
        lambda s: s | {SHORT: s[SHORT].to(torch.int8)},
        lambda s: s | {SHORT: s[SHORT].to(torch.complex64)},
        lambda s: s | {SHORT: s[SHORT].to_sparse()},
        lambda s: s | {SHORT: s[SHORT].to("meta")},
        lambda s: s | {SHORT: "text"},
        lambda s: s | {SHORT: torch.zeros(1).expand(64, 3, 3, 300_000_000)},
    ],
    ids=[
        "list",
        "none",
        "empty",
        "number",
        "shape",
        "inf",
        "integers",
        "complex",
        "sparse",
        "meta",
        "text",
        "wide",
    ],
)
def test_a_trunk_of_other_tensors(tmp_path, trunk, change):
    file = tmp_path / "trunk.pth"
    torch.save(change(dict(trunk)), file)
    for load in (distance, lambda path: Inception(64, path).check((3, 32, 32))):
        with pytest.raises(DataError) as found:
            load(str(file))
        assert found.value.where == str(file) and found.value.do
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 6 << 20  # KiB


def test_weights_that_are_packed_are_not_unpacked(tmp_path):
    """Of 200 kB they would make 200 MB; torch reads such files."""
    plain, packed = tmp_path / "plain.pth", tmp_path / "packed.pth"
    torch.save({"x": torch.zeros(50_000_000)}, plain)
    with zipfile.ZipFile(plain) as a, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as b:
        for part in a.infolist():
            b.writestr(part.filename, a.read(part))
    assert packed.stat().st_size < 1 << 20 and torch.load(packed)["x"].shape == (50_000_000,)
    with pytest.raises(DataError, match=r"its parts are compressed, which torch\.save never does"):
        state_dict(packed)
    assert state_dict(plain)["x"].shape == (50_000_000,)
    for load in (distance, lambda path: Inception(64, path).check((3, 32, 32))):
        with pytest.raises(DataError, match="parts are compressed"):
            load(str(packed))


def test_weights_of_old_files_are_read(tmp_path, trunk):
    """torchvision's are from before torch.save wrote zip files."""
    torch.save(trunk, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    distance(str(tmp_path / "old.pth"))


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("config.json", {"auto_map": {"AutoModel": "evil--repo.Model"}}, "auto_map=.* names code"),
        ("config.json", {"vision_config": {"auto_map": {"AutoModel": "m.M"}}}, "auto_map=.* names code"),
        ("config.json", {"parts": [{"trust_remote_code": True}]}, "trust_remote_code=True names code"),
        (
            "config.json",
            {"_attn_implementation": "evil/kernels"},
            "_attn_implementation=evil/kernels names code",
        ),
        ("tokenizer_config.json", {"auto_map": {"AutoTokenizer": ["t.T", None]}}, "auto_map=.* names code"),
        ("config.json", {"num_hidden_layers": 10**9}, "num_hidden_layers=1000000000 is more than 10000"),
        ("config.json", [1], "holds no JSON object"),
        ("config.json", "[" * 10**5, "cut short or damaged"),
        ("adapter_config.json", {"base_model_name_or_path": "evil/base"}, "changes another model"),
    ],
)
def test_a_folder_of_transformers_that_names_code(tmp_path, name, content, told):
    plain = {"auto_map": None, "trust_remote_code": False, "attn_implementation": "sdpa", "hidden_size": 32}
    (tmp_path / "config.json").write_text(json.dumps(plain))
    check_folder(tmp_path)
    (tmp_path / name).write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(DataError, match=told) as found:
        check_folder(tmp_path)
    assert found.value.where == str(tmp_path / name)
