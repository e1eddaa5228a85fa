"""Every option of every group composes, passes the check, and is built."""

import pytest
from commands import CONF, composed
from forked import forked
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from diffexp.config.build import build
from diffexp.config.check import check
from diffexp.config.compat import BASE
from diffexp.run.precision import settled

OPTIONS = [
    f"{path.parent.name}={path.stem}" for path in sorted(CONF.glob("*/*.yaml")) if path.parent.name != "hydra"
]
NEEDS = {
    "data=folder": ["data.path=here"],
    "data=buckets": ["data.path=here"],
    "data=npz": ["data.path=here.npz"],
    "data=parquet": ["data.path=here"],
    "data=shards": ["data.path=here"],
    "experiment=folder": ["data.path=here"],
    "experiment=npz": ["data.path=here.npz"],
    "experiment=emoji": ["data.path=here"],
    "experiment=emoji_16": ["data.path=here"],
    "experiment=emoji_latent": ["data.path=here"],
    "data=mix": ["+data@data.parts.a=digits"],
    "task=export": ["task.ckpt=run"],
    "task=sample": ["task.ckpt=run"],
    "task=evaluate": ["task.ckpt=run"],
    "task=encode": ["task.ckpt=run"],
    "task=likelihood": ["task.ckpt=run"],
    "task=doctor": ["task.ckpt=run"],
    "task=interpolate": ["task.ckpt=run"],
    "task=measure": ["task.images=here"],
}
NEEDS |= {option: ["conditioning=text"] for option in OPTIONS if option.startswith("text_encoder=")}
NEEDS |= {option: ["task=autoencoder"] for option in OPTIONS if option.startswith("autoencoder=")}
NEEDS["tune=concept"] = ["tune.word=glyph"]
NEEDS["text_encoder=transformers"] = ["conditioning=text", "text_encoder.model=here"]


def option_of(group, name):
    """The keys of an option alone, with what it inherits."""
    with initialize_config_dir(str(CONF), **BASE):
        return OmegaConf.to_container(compose(overrides=[f"+{group}={name}"]))[group]


@pytest.mark.parametrize("option", OPTIONS)
def test_option_composes_and_passes_the_check(option):
    cfg, choices = composed([option, *NEEDS.get(option, [])])
    group, name = option.split("=")
    assert choices[group] == name
    config = OmegaConf.to_container(cfg, resolve=True)
    if option == "logger=trackio":
        pytest.importorskip("trackio")
    check(settled(config))
    assert build(config["task"], "task") is not None


@pytest.mark.parametrize("option", OPTIONS)
def test_option_says_what_it_is(option):
    group, name = option.split("=")
    lines = (CONF / group / f"{name}.yaml").read_text().splitlines()
    first = lines[1] if lines[0].startswith("# @package") else lines[0]
    assert first.startswith("# ") and len(first) > 15


def test_every_key_of_an_option_is_an_argument_with_its_default():
    """A YAML lists all that can be set: what is not there could not be typed without a plus sign."""
    import inspect

    from diffexp.config.build import locate

    for option in OPTIONS:
        group, name = option.split("=")
        if group in ("schedule", "prediction", "sampler", "guidance", "clip"):
            node = option_of(group, name)
            params = {k for k in inspect.signature(locate(node["_target_"])).parameters if k != "self"}
            assert params == {k for k in node if not k.startswith("_")}, option


def test_what_options_inherit_is_no_option():
    """It lies outside of the groups, for Hydra offers all that is in one: --help, -m sampler=glob(*)."""
    bases = {"_grid", "_unet", "_own_images", "_autoencoder"}
    assert {path.stem for path in CONF.glob("*.yaml")} == {"config", *bases}
    assert list(CONF.glob("*/**/_*.yaml")) == []


GRID = {"spacing", "snap", "end", "sections", "shift"}


@pytest.mark.parametrize(
    ("text", "left"),  # keys of sampler=ddim that it does not have
    [
        ("_target_: diffexp.samplers.DDIM\nsteps: 7\neta: 0.25\n", {*GRID, "brownian"}),
        (
            "defaults:\n  - /_grid@_here_\n_target_: diffexp.samplers.DDIM\nsteps: 7\neta: 0.25\n",
            {"brownian"},
        ),
        ("defaults:\n  - ddim\nsteps: 7\neta: 0.25\n", set()),
    ],
    ids=["alone", "grid", "ddim"],
)
def test_option_of_the_persons_own_folder(text, left, tmp_path):
    (tmp_path / "mine" / "sampler").mkdir(parents=True)
    (tmp_path / "mine" / "sampler" / "own.yaml").write_text(text)
    typed = ["-cd", "mine", "sampler=own", "experiment=fashion_mnist", "--cfg", "job", "-p", "sampler"]
    code, said = forked(typed, tmp_path, tmp_path / "said")
    assert code == 0 and "eta: 0.25" in said, said
    node = OmegaConf.to_container(OmegaConf.create(said.partition("\n")[2]))
    ddim = option_of("sampler", "ddim") | {"steps": 25, "eta": 0.25}  # of the recipe: it wins
    assert node == {key: value for key, value in ddim.items() if key not in left}
