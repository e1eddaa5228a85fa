"""Run folders and checkpoints of a stranger: where they would write, what they would read, their weight."""

import copy
import json
import os
import resource
import subprocess
import sys
import time
import zipfile
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from alike import alike
from commands import CONF, QUICK, composed
from omegaconf import OmegaConf

from diffexp import notice
from diffexp.config.untrusted import typed_again, typed_before
from diffexp.config.untrusted_paths import names_a_path
from diffexp.errors import ConfigError, DataError
from diffexp.model.checkpoint import read_checkpoint
from diffexp.model.restore import restore
from diffexp.run.job import Job
from diffexp.run.ready import ready
from diffexp.tasks.run import run_job

RUN = CONF.parent / "run.py"


def typed(*args, cwd):
    """(exit code, stdout, stderr) of a command line."""
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(RUN), *args], capture_output=True, text=True, timeout=240, cwd=cwd, env=env
    )
    return done.returncode, done.stdout, done.stderr


def listing(folder):
    return {p: (p.stat().st_mtime_ns, p.stat().st_size) for p in sorted(folder.rglob("*"))}


@pytest.mark.parametrize(
    "line",
    [
        "--experimental-rerun=MARK/job.pickle", "--config-dir=MARK", "--config-name=evil", "-cd",
        "--multirun", "--info=all", "-m", "hydra.callbacks.x._target_=evil.Callback", "+hydra.searchpath=[file://MARK]",
        "hydra/launcher=submitit_local", "seed=1,2", "seed=range(3)", "seed=choice(1,2)",
        "name=${oc.env:HOME}",
        "+callbacks@hydra.callbacks=default", "+data@callbacks.x=digits", "network@logger=unet_tiny",
        "experiment=../../../x", "experiment=[digits,../x]", "+sampler=/abs", "sampler=a.b", "data=a/b",
        "name=$\\{oc.env\\:HOME\\}", "sampler={eta: $\\{seed\\}}", "plugins=[os]", "++plugins=[os]",
        "seed", "=1", "a b", "", "[", "seed=", "\x1b[31m=1", "seed=1\n--multirun", "++hydra.run.dir=MARK",
    ],
)  # fmt: skip
def test_a_line_of_a_run_folder_is_a_value_or_refused(tmp_path, line):
    (tmp_path / "overrides.yaml").write_text(json.dumps(["trainer.max_steps=3", line]))
    if line in ("seed=",):  # an empty value, as Hydra has it
        assert typed_before(tmp_path) == ["trainer.max_steps=3", line]
        return
    with pytest.raises(DataError, match=r"overrides\.yaml") as told:
        typed_before(tmp_path)
    assert told.value.code == 3 and "\x1b" not in str(told.value)


def test_no_flag_of_a_run_folder_reaches_the_command_line(run, tmp_path):
    """As it was done: a pickle that Hydra would load, a folder of configurations with a callback in it."""
    folder, mark = tmp_path / "run", tmp_path / "it_ran"
    folder.mkdir()
    evil = "import os, pathlib\nclass Callback:\n    def __init__(self):\n        pathlib.Path(%r).mkdir()\n"
    (tmp_path / "evil.py").write_text(evil % str(mark))
    before = listing(tmp_path)
    for line in (f"--experimental-rerun={tmp_path}/x.pickle", f"--config-dir={tmp_path}"):
        (folder / "overrides.yaml").write_text(json.dumps([line]))
        code, _, err = typed(f"resume={folder}", cwd=tmp_path)
        assert code == 3 and line[:40] in err and "Traceback" not in err
    (folder / "overrides.yaml").unlink()
    assert listing(tmp_path).keys() == before.keys() and not mark.exists()


EVIL = """# @package _global_
hydra: {callbacks: {x: {_target_: lightning.fabric.utilities.cloud_io._load, path_or_url: PICKLE,
  weights_only: false}}}
plugins: [os]
"""


def test_no_option_of_a_run_folder_lies_elsewhere_than_in_conf(tmp_path):
    """As it was done: experiment=../../x made Hydra load a YAML beside the overrides."""
    folder, up = tmp_path / "run", "../" * 30
    folder.mkdir()
    (folder / "x.yaml").write_text(EVIL.replace("PICKLE", str(folder / "p.pkl")))
    before = listing(tmp_path).keys()
    for option in (f"experiment={up}{folder}/x", f"experiment=[{up}{folder}/x]"):
        (folder / "overrides.yaml").write_text(json.dumps([option]))
        code, _, err = typed(f"resume={folder}", cwd=tmp_path)
        assert code == 3 and "it is no name of an option" in err and "Traceback" not in err
        (folder / "overrides.yaml").unlink()
    assert listing(tmp_path).keys() == before


def test_packages_of_a_run_folder_are_not_trusted_however_they_came_there(tmp_path):
    cfg, choices = composed([*QUICK, "plugins=[fractions]"])
    before = [*QUICK]  # as if a YAML had set them
    with pytest.raises(ConfigError, match=r"type plugins=\[fractions\]"):
        run_job(cfg, tmp_path / "run", [*before, "dir=x"], choices, before)


FILES = ["overrides.yaml", "config.yaml", "run.json", "divergence.json", "last.ckpt.json"]


@pytest.mark.parametrize("name", alike(FILES, ["overrides.yaml", "run.json"]))
@pytest.mark.parametrize("kind", ["pipe", "zero"])
def test_a_pipe_or_an_endless_file_in_a_run_folder_is_not_waited_for(run, tmp_path, name, kind):
    import shutil

    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    path = folder / "checkpoints" / name if name.startswith("last") else folder / name
    path.unlink(missing_ok=True)
    os.mkfifo(path) if kind == "pipe" else path.symlink_to("/dev/zero")
    before = peak()
    told = [*QUICK, f"dir={folder}", "trainer.max_steps=7"]
    cfg, choices = composed(told)
    with suppress(ConfigError, DataError):
        if name == "overrides.yaml":
            typed_before(folder)
        else:
            run_job(cfg, folder, told, choices)
    assert peak() - before < 400


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (
            ["+callbacks.x={_target_: diffexp.files.write, path: x, content: y}"],
            "diffexp.files.write may not",
        ),
        (
            ["optimizer._target_=torch.optim.NAdam"],
            "torch.optim.NAdam may not be built from a file as optimizer",
        ),
        (["+foo._target_=diffexp.files.write"], "diffexp.files.write may not be built from a file as foo"),
        (["++clip={_target_: diffexp.training.Best, metric: x}"], "Best may not be built"),
    ],
)
def test_what_a_run_folder_puts_somewhere_is_judged_there(tmp_path, lines, told):
    """Also where the user has typed plugins=, which lets overrides name classes."""
    (tmp_path / "overrides.yaml").write_text(json.dumps([*QUICK, *lines]))
    before = typed_before(tmp_path, plugins=True)
    now = ["plugins=[fractions]", f"dir={tmp_path / 'run'}"]
    cfg, choices = composed([*before, *now])
    with pytest.raises(ConfigError, match=told):
        run_job(cfg, tmp_path / "run", [*before, *now], choices, before)
    assert not (tmp_path / "run").exists()
    if lines[0].startswith("optimizer."):  # the same, typed by the user, is the user's
        own = [*QUICK, *lines, "~optimizer.fused", "dry_run=true", *now]
        cfg, choices = composed(own)
        assert run_job(cfg, tmp_path / "run", own, choices, list(QUICK)) == {}


def test_a_run_folder_does_not_say_where_to_write(run, tmp_path, capsys):
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "last.ckpt").write_text("mine")
    lines = [
        *QUICK, f"callbacks.checkpoint.folder={victim}", f"callbacks.best.folder={victim}",
        f"metrics.metrics.0.cache={victim}", f"dir={victim}",
    ]  # fmt: skip
    (tmp_path / "overrides.yaml").write_text(json.dumps(lines))
    notice._said.clear()
    assert typed_before(tmp_path) == [*QUICK, f"dir={victim}"]  # dir is replaced by that of resume=
    assert capsys.readouterr().err.count("is not taken from") == 3


@pytest.mark.slow
def test_resume_of_a_strangers_folder_writes_there_alone(run, tmp_path):
    import shutil

    folder, victim = tmp_path / "run", tmp_path / "victim"
    shutil.copytree(run, folder)
    victim.mkdir()
    told = json.loads(json.dumps(OmegaConf.to_container(OmegaConf.load(folder / "overrides.yaml"))))
    (folder / "overrides.yaml").write_text(json.dumps([*told, f"callbacks.checkpoint.folder={victim}"]))
    code, _, err = typed(f"resume={folder}", "trainer.max_steps=8", cwd=tmp_path)
    assert code == 0, err
    assert "callbacks.checkpoint.folder" in err and "is not taken from" in err
    assert list(victim.iterdir()) == []
    assert read_checkpoint(folder / "checkpoints" / "last.ckpt")["global_step"] == 8


def test_what_a_run_folder_reads_is_told_and_nothing_is_downloaded_to_its_root(tmp_path, capsys):
    there = ["data=mnist", f"data_root={tmp_path}", "metrics.extractor.weights=mnist", "name=a/b"]
    (tmp_path / "overrides.yaml").write_text(json.dumps([*QUICK, *there]))
    notice._said.clear()
    before = typed_before(tmp_path)
    told = capsys.readouterr().err
    assert told.count("using ") == 1 and f"using data_root={tmp_path}, which" in told
    now = [f"dir={tmp_path / 'run'}", "conditioning=none"]
    cfg, choices = composed([*before, *now])
    with pytest.raises(DataError, match=r"was not to be downloaded: data\.download=false"):
        run_job(cfg, tmp_path / "run", [*before, *now], choices, before)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["overrides.yaml"]


def sampling_nodes(checkpoint, tmp_path, change, *more):
    """The nodes of SAMPLING of an edited checkpoint, as task=evaluate gets them."""
    edited = checkpoint | {"diffexp": copy.deepcopy(checkpoint["diffexp"])}
    change(edited["diffexp"]["config"])
    torch.save(edited, tmp_path / "hostile.ckpt")
    args = ["task=evaluate", f"task.ckpt={tmp_path / 'hostile.ckpt'}", "logger=none", *more]
    cfg, choices = composed(args)
    notice._said.clear()
    job = Job(OmegaConf.to_container(cfg, resolve=True), tmp_path / "out", tuple(args), choices)
    return ready(job, args[1].partition("=")[2])[1]


def test_the_cache_of_the_person_is_that_of_the_metrics():
    """It is written twice, for the command line is read before torch is imported."""
    from diffexp.config import untrusted_paths
    from diffexp.metrics import reference

    assert untrusted_paths.CACHE == reference.CACHE


def test_a_checkpoint_does_not_say_where_a_cache_is(checkpoint, tmp_path, capsys):
    def change(config):
        config["metrics"]["metrics"][0]["cache"] = str(tmp_path / "victim")

    nodes = sampling_nodes(checkpoint, tmp_path, change)
    assert nodes["metrics"]["metrics"][0]["cache"] == "~/.cache/diffexp/stats"
    assert f"metrics.metrics[0].cache={tmp_path / 'victim'}" in capsys.readouterr().err
    own = f"metrics.metrics.0.cache={tmp_path / 'mine'}"
    nodes = sampling_nodes(checkpoint, tmp_path, change, own)
    assert nodes["metrics"]["metrics"][0]["cache"] == str(tmp_path / "mine")
    assert capsys.readouterr().err == ""


def test_what_a_checkpoint_reads_is_told(checkpoint, tmp_path, capsys):
    (tmp_path / "weights.safetensors").write_bytes(b"")

    def change(config):
        config["metrics"]["extractor"] = {"_target_": "diffexp.metrics.Clip", "model": "someone/model"}
        config["metrics"]["metrics"][0]["statistics"] = str(tmp_path / "weights.safetensors")
        config["data"] = {"_target_": "diffexp.data.Npz", "path": "../there.npz"}

    sampling_nodes(checkpoint, tmp_path, change)
    out = capsys.readouterr().err
    for line in ("metrics.extractor.model=someone/model", f"statistics={tmp_path}/weights", "path=../there"):
        assert f"{line}" in out
    assert out.count("reading ") == 3 and out.count("hostile.ckpt names") == 3


@pytest.mark.parametrize(
    "line",
    [
        "callbacks.checkpoint={folder: VICTIM}", "callbacks={checkpoint: {folder: VICTIM}}",
        "+a.folder=VICTIM",
        "metrics.metrics.0={cache: VICTIM}", "metrics={metrics: [{cache: VICTIM}]}",
        "++callbacks.best.folder=VICTIM",
    ],
)  # fmt: skip
def test_a_place_to_write_to_is_not_taken_however_deep_it_stands(tmp_path, line):
    (tmp_path / "overrides.yaml").write_text(json.dumps(["seed=3", line.replace("VICTIM", str(tmp_path))]))
    notice._said.clear()
    assert typed_before(tmp_path) == ["seed=3"]


def test_a_line_that_is_typed_again_stands_in_for_that_of_the_folder():
    before = ["seed=3", "sampler=ddim", "dir=x", "resume=auto", "~callbacks.best"]
    line = typed_again(Path("a b"), before, ["-cd", "CONF", "resume=a b", "seed=4", "--cfg", "job"])
    assert line == [
        "-cd", "CONF", "sampler=ddim", "~callbacks.best", "dir='a b'", "resume=auto", "seed=4", "--cfg",
        "job",
    ]  # fmt: skip


@pytest.mark.parametrize("there", [True, False])
def test_a_public_data_set_is_read_where_a_checkpoint_says_and_written_nowhere(
    checkpoint, tmp_path, capsys, monkeypatch, there
):
    root = tmp_path / "theirs"
    if there:
        root.mkdir()

    def change(config):
        config["data"] = {"_target_": "diffexp.data.MNIST", "root": str(root)}

    nodes = sampling_nodes(checkpoint, tmp_path, change, f"data_root={tmp_path / 'mine'}")
    assert nodes["data"]["root"] == str(tmp_path / "mine")  # typed, and so it counts
    monkeypatch.delenv("DIFFEXP_DATA", raising=False)
    nodes = sampling_nodes(checkpoint, tmp_path, change)
    if there:
        assert nodes["data"] | {"_target_": ""} == {"_target_": "", "root": str(root), "download": False}
        assert "data.root=" in capsys.readouterr().err
    else:
        assert nodes["data"]["root"] == "~/.cache/diffexp"


CLASSIFIER = {
    "_target_": "diffexp.networks.noisy_classifier.NoisyClassifier", "image_size": 8, "in_channels": 1,
    "num_classes": 10, "channels": 8, "channel_mult": [1, 2],
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"_target_": "diffexp.files.write"}, "is no classifier of diffexp"),
        ({"_target_": "os.system"}, "is no classifier of diffexp"),
        ({"channels": {"_target_": "os.mkdir", "path": "x"}}, "channels"),
        ({"channels": 1 << 14}, "larger than what the file holds"),
        ({"channel_mult": [1] * 5000}, "cannot be halved"),
        ({"nothing": 1}, "has no nothing"),
        ({"image_size": 16, "attention": [8]}, r"is of images of \(1, 16, 16\)"),
        ({"num_classes": "${oc.env:HOME}"}, "num_classes"),
    ],
)
def test_a_classifier_of_a_stranger(checkpoint, tmp_path, change, told):
    from diffexp.model.guides import classifier_of
    from diffexp.networks.noisy_classifier import NoisyClassifier

    network = NoisyClassifier(**{k: v for k, v in CLASSIFIER.items() if k != "_target_"})
    note = {"format": 1, "kind": "classifier", "network": CLASSIFIER, "step": 1}
    path, model = tmp_path / "c.ckpt", restore_model(checkpoint, tmp_path)
    torch.save({"diffexp": note, "state_dict": network.state_dict()}, path)
    assert classifier_of(str(path), model) is not None
    torch.save({"diffexp": note | {"network": CLASSIFIER | change}, "state_dict": network.state_dict()}, path)
    with pytest.raises((ConfigError, DataError), match=told):
        classifier_of(str(path), model)


def restore_model(checkpoint, tmp_path):
    torch.save(checkpoint, tmp_path / "good.ckpt")
    return restore(tmp_path / "good.ckpt").model


def peak():
    """MB of memory that this process has had at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def deflated(path, to):
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(to, "w", zipfile.ZIP_DEFLATED) as new:
        for part in old.infolist():
            new.writestr(part.filename, old.read(part))


def test_a_compressed_checkpoint_is_refused_before_it_unpacks(checkpoint, tmp_path):
    torch.save(checkpoint | {"zeros": torch.zeros(1 << 26)}, tmp_path / "large.ckpt")
    deflated(tmp_path / "large.ckpt", tmp_path / "bomb.ckpt")
    (tmp_path / "large.ckpt").unlink()
    assert (tmp_path / "bomb.ckpt").stat().st_size < 2 << 20
    before = peak()
    with pytest.raises(DataError, match=r"compressed, which torch\.save never does"):
        restore(tmp_path / "bomb.ckpt")
    assert peak() - before < 100


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"network": {"channels": 16384}}, "larger than what the file holds"),
        ({"network": {"blocks": 10**9}}, "larger than what the file holds"),
        ({"network": {"channel_mult": [1] * 10_000}}, "cannot be halved"),
        ({"schedule": {"schedule": {"T": 10**12}}}, "too long a chain"),
        ({"shape": [3, 1 << 20, 1 << 20]}, "damaged in shape"),
        ({"shape": [1, 8, -8]}, "damaged in shape"),
        ({"classes": "0123456789"}, "damaged in classes"),
        ({"classes": ["a"] * 11}, "do not fit the network"),
        ({"network": None}, r"damaged in config\.model\.network"),
    ],
)
def test_a_small_file_takes_little_memory_and_time(checkpoint, tmp_path, change, told):
    note = copy.deepcopy(checkpoint["diffexp"])
    for key, value in change.items():
        where = note if key in ("shape", "classes") else note["config"]["model"]
        while isinstance(value, dict) and isinstance(next(iter(value.values())), dict):
            where, (key, value) = where[key], next(iter(value.items()))
        where[key] = where[key] | value if isinstance(value, dict) else value
    torch.save(checkpoint | {"diffexp": note}, tmp_path / "hostile.ckpt")
    before, start = peak(), time.perf_counter()
    with pytest.raises((ConfigError, DataError), match=told):
        restore(tmp_path / "hostile.ckpt")
    assert peak() - before < 200 and time.perf_counter() - start < 10


@pytest.mark.parametrize(
    ("place", "value", "told"),
    [
        (("sampler", "steps"), 10**9, "sampler.steps"), (("sampler", "steps"), 10**30, "sampler.steps"),
        (("metrics", "n"), 10**9, "metrics.n"), (("metrics", "metrics", 0, "parts"), 10**9, "metrics.parts"),
        (("metrics", "metrics"), 10_000, "metrics.metrics"),
    ],
)  # fmt: skip
def test_numbers_of_a_checkpoint_that_would_never_end(checkpoint, tmp_path, place, value, told):
    def change(config):
        *way, last = place
        for part in way:
            config = config[part]
        config[last] = config[last] * value if isinstance(config[last], list) else value

    start = time.perf_counter()
    with pytest.raises(ConfigError, match=told):
        sampling_nodes(checkpoint, tmp_path, change)
    assert time.perf_counter() - start < 20


class Big:
    """Pickled, a call that takes a size."""

    def __init__(self, call, *args):
        self.call, self.args = call, args

    def __reduce__(self):
        return self.call, self.args


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (Big(bytearray, 10**11), "builtin(s|__).bytearray"),
        (Big(torch.Tensor, 10**6, 10**6), r"it names torch\.Tensor|it names torch\._tensor"),
        (torch.zeros(1).expand(10**11), "is made of 4"),
        ([[[]]] * 600_000, "too many values"),
        ("deep", "nested too deeply"),
    ],
    ids=["bytearray", "tensor", "expanded", "many", "deep"],
)
def test_what_a_pickle_asks_for(checkpoint, tmp_path, value, told):
    if isinstance(value, str):
        value = []
        for _ in range(300):
            value = [value]
    torch.save(checkpoint | {"more": value}, tmp_path / "hostile.ckpt")
    before = peak()
    with pytest.raises(DataError, match=told):
        restore(tmp_path / "hostile.ckpt")
    assert peak() - before < 300


def test_a_flipped_byte_without_a_note_is_seen_by_the_check_sums_of_the_archive(checkpoint, tmp_path):
    path = tmp_path / "c.ckpt"
    torch.save(checkpoint, path)
    good, draw, seen = path.read_bytes(), torch.Generator().manual_seed(0), 0
    with zipfile.ZipFile(path) as file:
        parts = [p for p in file.infolist() if p.file_size > 100]
    for _ in range(40):
        part = parts[int(torch.randint(len(parts), (), generator=draw))]
        start = good.index(part.filename.encode()) + len(part.filename)
        at = good.index(b"", start) + 64 + int(torch.randint(part.file_size - 64, (), generator=draw))
        path.write_bytes(good[:at] + bytes([good[at] ^ 16]) + good[at + 1 :])
        try:
            read_checkpoint(path)
        except DataError as error:
            seen += "damaged" in str(error) or "not a readable checkpoint" in str(error)
    assert seen >= 38  # the rest fell into the padding between two parts


def test_nothing_is_no_path():
    assert not names_a_path("") and names_a_path("/etc/passwd") and names_a_path("~")
