"""What a stranger's file may name: nothing but the class that the shipped options have for that place.

Every place × every kind of what should not be there; an audit hook sees that nothing was run, written,
deleted, begun or opened for writing meanwhile.
"""

import copy
import json
import os
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from commands import CONF, QUICK, composed
from safetensors.torch import save_file

from diffexp.config.build import locate
from diffexp.config.catalogue import _group, _root, _targets, judge
from diffexp.config.kinds import KINDS, is_kind, kind_of
from diffexp.errors import ConfigError, DataError
from diffexp.model.find import read
from diffexp.model.restore import restore
from diffexp.run.job import Job
from diffexp.run.ready import ready
from diffexp.tasks.run import run_job

_seen: list[str] = []
_watching = [False]
_DOING = (
    "subprocess.", "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.mkdir", "os.remove", "os.rename",
    "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod", "shutil.", "socket.connect",
)  # fmt: skip


def _hook(event, args):
    if not _watching[0]:
        return
    if event.startswith(_DOING):
        _seen.append(f"{event} {args}")
    elif event == "open":
        path, mode, flags = args
        writes = (
            flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) if isinstance(flags, int) else "w" in str(mode)
        )
        if writes and "__pycache__" not in str(path):
            _seen.append(f"open {path}")
    elif event == "import" and str(args[0]).split(".")[0] in ("stranger_plugin", "antigravity"):
        _seen.append(f"import {args[0]}")


sys.addaudithook(_hook)


@pytest.fixture
def nothing_done(tmp_path, monkeypatch):
    """Watches; what was done is an error, and so is a module of the stranger's that was imported."""
    lib = tmp_path / "lib"
    lib.mkdir()
    (lib / "stranger_plugin.py").write_text("raise SystemExit('a plug-in that nobody typed was imported')\n")
    monkeypatch.syspath_prepend(str(lib))
    before = sorted(tmp_path.rglob("*"))
    _seen.clear()
    yield
    assert _seen == []
    assert [
        p
        for p in sorted(tmp_path.rglob("*"))
        if p not in before and p.suffix not in (".ckpt", ".safetensors", ".json")
    ] == []


def watched(call):
    _watching[0] = True
    try:
        return call()
    finally:
        _watching[0] = False


def path_node(path):
    return {"_target_": "diffexp.config.suggest.path_of", "text": str(path), "where": "x"}


KIND = {
    "ours_that_writes": lambda own, mark: {
        "_target_": "diffexp.files.write", "path": path_node(mark), "content": "written"
    },
    "ours_that_deletes": lambda own, mark: {
        "_target_": "diffexp.model.checkpoint.remove", "path": path_node(mark)
    },
    "ours_that_calls": lambda own, mark: {
        "_target_": "diffexp.metrics.reference.cached", "folder": None, "key": "x",
        "make": {"_target_": "diffexp.files.make_folder", "_partial_": True, "path": path_node(mark)},
    },
    "ours_in_the_wrong_role": lambda own, mark: {
        "_target_": "diffexp.training.Checkpoint", "folder": str(mark)
    },
    "ours_not_imported_yet": lambda own, mark: {"_target_": "diffexp.metrics.train_classifier.main"},
    "loader_of_a_dependency": lambda own, mark: {
        "_target_": "lightning.fabric.utilities.cloud_io._load", "weights_only": False,
        "path_or_url": str(mark),
    },
    "instantiator": lambda own, mark: {
        "_target_": "lightning.pytorch.cli.instantiate_class", "args": [],
        "init": {"class_path": "os.mkdir", "init_args": {"path": str(mark)}},
    },
    "hydra": lambda own, mark: {"_target_": "hydra.utils.instantiate", "config": {"x": 1}},
    "optimizer": lambda own, mark: {"_target_": "torch.optim.SGD", "_partial_": True, "lr": 0.1},
    "metric_of_a_dependency": lambda own, mark: {"_target_": "torchmetrics.MeanSquaredError"},
    "reexport_of_os": lambda own, mark: {"_target_": "diffexp.files.os.mkdir", "path": str(mark)},
    "reexport_of_subprocess": lambda own, mark: {
        "_target_": "diffexp.run.folder.subprocess.run", "args": f"mkdir {mark}"
    },
    "builtin": lambda own, mark: {"_target_": "builtins.open", "file": str(mark), "mode": "w"},
    "later": lambda own, mark: own | {"_partial_": not own.get("_partial_", False)},
    "nested": lambda own, mark: own | {"T": {"_target_": "os.mkdir", "path": str(mark)}},
    "nested_deeply": lambda own, mark: own | {"a": [{"b": {"c": [{"_target_": "diffexp.files.write"}]}}]},
    "environment": lambda own, mark: own | {"name": "${oc.env:HOME}"},
    "plugin_not_typed": lambda own, mark: {"_target_": "stranger_plugin.Sampler"},
    "no_text": lambda own, mark: own | {"_target_": ["os.mkdir"]},
}  # fmt: skip
MODEL = ["network", "schedule", "schedule.schedule", "prediction", "variance", "conditioning", "codec"]
SAMPLING = ["sampler", "guidance", "clip", "metrics", "metrics.extractor", "metrics.metrics.0", "data"]
PLACES = [*(f"model.{p}" for p in MODEL), *SAMPLING, "exported"]


def replaced(node, keys, change):
    """A copy of nested dicts and lists with `change` applied to what is at `keys`."""
    if not keys:
        return change(node)
    node = copy.copy(node)
    key = int(keys[0]) if isinstance(node, list) else keys[0]
    node[key] = replaced(node[key], keys[1:], change)
    return node


def refusal(place, config, checkpoint, tmp_path):
    """What reading the file as a person does raises."""
    told = checkpoint["diffexp"] | {"config": config}
    if place == "exported":
        weights = {name: value.contiguous() for name, value in checkpoint["trained"].items()}
        save_file(weights, tmp_path / "model.safetensors")
        told = {k: v for k, v in told.items() if k != "meter"} | {"ema": False}
        (tmp_path / "config.json").write_text(json.dumps(told))
        return lambda: restore(tmp_path, None)
    path = tmp_path / "hostile.ckpt"
    torch.save(checkpoint | {"diffexp": told}, path)
    if place.startswith("model."):
        return lambda: restore(path)
    typed = ["task=sample", f"task.ckpt={path}", "logger=none"]
    cfg, choices = composed(typed)
    from omegaconf import OmegaConf

    job = Job(OmegaConf.to_container(cfg, resolve=True), tmp_path / "out", tuple(typed), choices)
    return lambda: ready(job, str(path))


def of_all(place, kind):
    """All kinds in one place and one kind in all places, quickly; every pair with -m slow."""
    quick = place == "sampler" or kind == "ours_that_writes"
    return pytest.param(place, kind, marks=() if quick else pytest.mark.slow, id=f"{place}-{kind}")


@pytest.mark.parametrize(("place", "kind"), [of_all(place, kind) for place in PLACES for kind in KIND])
def test_no_place_takes_what_is_not_of_it(place, kind, checkpoint, tmp_path, nothing_done):
    before, mark = set(sys.modules), tmp_path / "lib"  # there, so that deleting it would be seen too
    keys = ("model.network" if place == "exported" else place).split(".")
    change = partial(KIND[kind], mark=mark)
    config = replaced(checkpoint["diffexp"]["config"], keys, lambda own: change(own))
    with pytest.raises((ConfigError, DataError)) as told:
        watched(refusal(place, config, checkpoint, tmp_path))
    text = str(told.value)
    wanted = {"later": "_partial_", "environment": "interpolation", "nested": "os.mkdir"}
    name = config_name(config, keys) if kind not in ("nested_deeply", *wanted) else "diffexp.files.write"
    assert wanted.get(kind, name) in text, text
    assert "diffexp.metrics.train_classifier" not in set(sys.modules) - before


def config_name(config, keys):
    for key in keys:
        config = config[int(key) if isinstance(config, list) else key]
    return str(config["_target_"])


def test_the_attack_on_a_loader_of_a_dependency(checkpoint, tmp_path, nothing_done):
    """As it was done: the sampler is a loader of Lightning's, and unpickles a file beside the checkpoint."""
    evil = {
        "_target_": "lightning.fabric.utilities.load._load",
        "path_or_url": "x.pkl",
        "weights_only": False,
    }
    for group in ("guidance", "clip", "sampler", "metrics", "data"):
        config = checkpoint["diffexp"]["config"] | {group: evil}
        with pytest.raises(ConfigError, match=r"_load may not be built from a file as " + group):
            watched(refusal(group, config, checkpoint, tmp_path))


def test_everything_of_a_file_is_told_at_once(checkpoint, tmp_path):
    bad = {"_target_": "os.mkdir"}
    config = replaced(checkpoint["diffexp"]["config"], ["model", "network"], lambda own: bad)
    config = replaced(config, ["model", "codec"], lambda own: bad)
    with pytest.raises(ConfigError, match=r"2 problems[\s\S]*as network[\s\S]*as codec"):
        refusal("model.codec", config, checkpoint, tmp_path)()


PLUGIN = """
import os
from diffexp.diffusion import Schedule, cosine
from diffexp.samplers import DDIM

class Mine(DDIM):
    pass

class Other:
    def __init__(self, path="x"):
        os.mkdir(path)

class Helper:
    @staticmethod
    def shout(path="x"):
        os.rmdir(path)

def annotated(T: int = 10) -> Schedule:
    return cosine(T)

def not_annotated(T=10):
    return cosine(T)

def remove(path: str) -> None:
    os.rmdir(path)
"""


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    (tmp_path / "my_package.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    sys.modules.pop("my_package", None)


@pytest.mark.parametrize(
    ("place", "name", "plugins", "told"),
    [
        ("sampler", "my_package.Mine", ["my_package"], None),
        ("sampler", "my_package.Mine", [], r"plugins=\[my_package\]"),
        ("sampler", "my_package.Other", ["my_package"], "is no Sampler"),
        ("sampler", "my_package.os.mkdir", ["my_package"], "is no class or function"),
        ("sampler", "my_package.DDIM", ["my_package"], "is no class or function"),
        ("sampler", "my_package.__dict__", ["my_package"], "is private"),
        ("schedule", "my_package.annotated", ["my_package"], None),
        ("schedule", "my_package.remove", ["my_package"], "does not say that it returns a Schedule"),
        ("schedule", "my_package.not_annotated", ["my_package"], r"plugins=\[my_package,my_package\.not"),
        ("schedule", "my_package.not_annotated", ["my_package", "my_package.not_annotated"], None),
    ],
)  # fmt: skip
def test_plugins_offer_what_is_of_the_kind_of_the_place(plugin, place, name, plugins, told):
    found = "\n".join(map(str, judge({"_target_": name}, place, plugins)))
    if told is None:
        assert found == ""
    else:
        import re

        assert re.search(told, found), found


def test_a_node_of_a_plugin_may_hold_shipped_parts_and_its_own(plugin):
    inner = {"_target_": "my_package.Mine", "inner": {"_target_": "diffexp.samplers.DDIM"}}
    assert judge(inner, "sampler", ["my_package"]) == []
    for bad in ("lightning.Trainer", "diffexp.training.Checkpoint", "diffexp.files.write", "os.mkdir"):
        (problem,) = judge(inner | {"inner": {"_target_": bad}}, "sampler", ["my_package"])
        assert bad in str(problem)


def test_a_node_of_a_plugin_calls_no_function_of_it(plugin):
    """Neither at once nor deep inside: what a file has called is a class, or was typed."""
    for name in ("my_package.remove", "my_package.not_annotated", "my_package.Helper.shout"):
        for inner in ({"_target_": name}, [{"a": [{"_target_": name}]}]):
            (problem,) = judge({"_target_": "my_package.Mine", "x": inner}, "sampler", ["my_package"])
            assert f"{name} is no class" in str(problem)
            assert judge({"_target_": "my_package.Mine", "x": inner}, "sampler", ["my_package", name]) == []


def test_a_file_does_not_choose_which_script_of_a_plugin_is_imported(tmp_path, monkeypatch):
    package = tmp_path / "my_other"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "script.py").write_text("raise SystemExit('imported')\n")
    (package / "parts.py").write_text("from diffexp.samplers import DDIM\nclass Mine(DDIM):\n    pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    (problem,) = judge({"_target_": "my_other.script.Mine"}, "sampler", ["my_other"])
    assert "there is no my_other.script.Mine" in str(problem) and "my_other.script" not in sys.modules
    assert judge({"_target_": "my_other.parts.Mine"}, "sampler", ["my_other"]) == []


NETWORK = """
from torch import nn
from diffexp.networks import UNet
def make(**options) -> nn.Module:
    return UNet(**options)
"""


def test_a_network_made_by_a_function_of_a_plugin_is_restored(tmp_path, monkeypatch):
    (tmp_path / "my_networks.py").write_text(NETWORK)
    monkeypatch.syspath_prepend(str(tmp_path))
    overrides = [
        *QUICK,
        "plugins=[my_networks]",
        "network._target_=my_networks.make",
        f"dir={tmp_path / 'run'}",
    ]
    cfg, choices = composed(overrides)
    run_job(cfg, tmp_path / "run", overrides, choices)
    assert restore(tmp_path / "run", plugins=["my_networks"]).step == 6
    with pytest.raises(ConfigError, match=r"plugins=\[my_networks\]"):
        restore(tmp_path / "run")


NODES = [
    (where, name)
    for group in sorted(
        p.name for p in CONF.iterdir() if p.is_dir() and p.name not in ("hydra", "experiment")
    )
    for node in _group(group)
    for where, name, _ in _targets(node, group)
]


@pytest.mark.parametrize("where", sorted({where for where, _ in NODES}))
def test_every_shipped_option_is_of_the_kind_of_its_place(where):
    if where not in KINDS:
        assert where.startswith(("weighting.", "network."))  # parts of a node, which a kind of their own lack
        return
    for name in {name for place, name in NODES if place == where}:
        found, kind = locate(name), kind_of(where)
        made = found if isinstance(found, type) else found.__annotations__["return"]
        assert is_kind(made, kind), name


@pytest.mark.parametrize("path", sorted(CONF.glob("experiment/*.yaml")), ids=lambda p: p.stem)
def test_every_recipe_is_named_by_the_catalogue(path):
    """As if a run folder had said it: nothing that is shipped is refused."""
    from omegaconf import OmegaConf

    cfg, _ = composed([f"experiment={path.stem}"])
    config = OmegaConf.to_container(cfg, resolve=True)
    found = [p for key, node in config.items() if isinstance(node, (dict, list)) for p in judge(node, key)]
    assert [str(p) for p in found] == []
    assert set(_root()) >= {"snr", "loader", "model", "evaluator"}


def test_what_an_option_inherits_is_named_in_its_place():
    """The UNet is named by conf/_unet.yaml alone, and that mnist is a set of metrics by digits alone."""
    assert judge({"_target_": "diffexp.networks.UNet", "_partial_": True}, "network") == []
    (problem,) = judge({"_target_": "diffexp.networks.UNet"}, "network")
    assert "_partial_ is false" in str(problem)
    assert judge({"_target_": "diffexp.metrics.ClassifierAccuracy"}, "metrics.metrics[]") == []
    (problem,) = judge({"_target_": "diffexp.metrics.ClassifierAccuracy"}, "metrics")
    assert "may not be built from a file as metrics" in str(problem)
    (inception768,) = [n for n in _group("metrics") if (n.get("extractor") or {}).get("feature") == 768]
    assert inception768["extractor"]["_target_"] == "diffexp.metrics.Inception"


def test_other_names_of_shipped_classes_are_known():
    """The module that has the class, as a run may have typed it, and names of earlier versions."""
    assert judge({"_target_": "diffexp.samplers.heun.Heun"}, "sampler") == []
    assert judge({"_target_": "diffexp.data.DataModule"}, "loader") == []
    (problem,) = judge({"_target_": "diffexp.samplers.heun.torch"}, "sampler")
    assert "may not be built from a file as sampler" in str(problem)


def test_reading_leaves_what_is_good(run, checkpoint):
    assert read(run / "checkpoints" / "last.ckpt").keys() == checkpoint.keys()
    assert Path(restore(run).path).name == "last.ckpt"
