"""task=autoencoder by the command line: its results and its files, a kill, a decoder trained on, refusals."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch
import yaml
from commands import CONF, composed
from forked import forked
from PIL import Image

from diffexp.comparison.evidence import load
from diffexp.config.catalogue import judge
from diffexp.errors import ConfigError

SMALL = [
    "task=autoencoder", "autoencoder.network.channels=8", "autoencoder.network.groups=4",
    "autoencoder.adversarial.weight=0.5", "autoencoder.adversarial.start=3",
    "autoencoder.adversarial.channels=8", "trainer.accumulate_grad_batches=2",
    "trainer.max_steps=8", "trainer.val_check_interval=8", "trainer.log_every_n_steps=1",
    "callbacks.checkpoint.every=2", "logger=none",
]  # fmt: skip


def typed(folder, *words):
    return forked(words, folder, folder / "said")


def state(folder):
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)


def tensors(node, path=""):
    if isinstance(node, torch.Tensor):
        yield path, node
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        yield from tensors(value, f"{path}.{key}")


def equal(a, b):
    a, b = dict(tensors(a)), dict(tensors(b))
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A whole run of the default data, and what it said."""
    folder = tmp_path_factory.mktemp("autoencoder")
    code, said = typed(folder, *SMALL, "dir=run")
    assert code == 0, said
    return folder / "run", said


def test_its_results_with_their_cards(run):
    folder, said = run
    results = json.loads((folder / "run.json").read_text())["results"]
    assert {"psnr", "ssim", "kl", "rfid_digits64", "raccuracy_svm", "active_channels"} <= results.keys()
    card = results["cards"]["rfid_digits64"]
    assert (card["n"], card["images"], card["split"]) == (180, "test", "train")
    assert results["rfid_digits64"] > card["originals"] > 0 and card["floor"] > 0
    assert results["cards"]["psnr"]["n"] == 180 and results["cards"]["psnr"]["standard_error"] > 0
    latent = results["latent"]
    assert len(latent["mean"]) == len(latent["std"]) == len(latent["active"]) == 4
    assert results["active_channels"] == sum(latent["active"])
    assert "latents of 4x4x4, 100% of the numbers of an image, a discriminator of 1 layers" in said
    with Image.open(results["picture"]) as picture:
        assert picture.width > 800
    kept = state(folder)["diffexp"]
    assert kept["autoencoder"]["_target_"] == "diffexp.networks.sized_autoencoder"
    assert judge(kept["autoencoder"], "autoencoder.network") == []
    assert len(state(folder)["optimizer_states"]) == 2


def test_a_finished_run_is_not_run_again(run):
    folder, _ = run
    code, said = typed(folder.parent, *SMALL, "dir=run")
    assert code == 0 and "already finished" in said


def test_the_line_that_trains_it_longer_works(run, tmp_path):
    """Its learning rate has the steps of the whole run, which are then others."""
    folder, said = run
    line = next(line for line in said.splitlines() if "resume=" in line)
    assert line.endswith(" trainer.max_steps=32")
    shutil.copytree(folder, tmp_path / "run")
    code, said = typed(tmp_path, "resume=run", "trainer.max_steps=10")
    assert code == 0 and "going on from step 8" in said, said
    assert state(tmp_path / "run")["global_step"] == 10
    code, said = typed(tmp_path, *SMALL, "trainer.max_steps=12", "optimizer.lr=1", "dir=run")
    assert code == 2 and "optimizer.lr 0.003 -> 1" in said, said


def test_a_killed_run_ends_as_the_unbroken_one(run, tmp_path):
    kill = "+callbacks.kill={_target_: plugins.killed.Killed, at: 5}"
    code, said = typed(tmp_path, *SMALL, "dir=run", kill, "plugins=[plugins]")
    assert code == -signal.SIGKILL, said
    code, said = typed(tmp_path, *SMALL, "dir=run")
    assert code == 0 and "going on from step 4" in said, said
    whole, again = state(run[0]), state(tmp_path / "run")
    for part in ("trained", "ema", "objective", "optimizer_states"):
        assert equal(whole[part], again[part]) and dict(tensors(whole[part]))
    rows = [(folder / "metrics.jsonl").read_text().splitlines() for folder in (run[0], tmp_path / "run")]
    values = [
        [(line["step"], line.get("train/loss"), line.get("val/psnr")) for line in map(json.loads, some)]
        for some in rows
    ]
    assert values[0] == values[1] and [line[0] for line in values[0] if line[2]] == [4, 8]


@pytest.mark.slow
def test_twenty_kills_change_nothing(tmp_path):
    """In a step, in the writing of a checkpoint, in a validation: wherever the moment falls."""
    long = [*SMALL, "trainer.max_steps=300", "trainer.val_check_interval=100", "callbacks.checkpoint.every=5"]
    env = os.environ | {"OMP_NUM_THREADS": "1"}

    def start(folder):
        words = [sys.executable, str(CONF.parent / "run.py"), *long, f"dir={folder}"]
        quiet = subprocess.DEVNULL
        return subprocess.Popen(words, cwd=tmp_path, env=env, stdout=quiet, stderr=quiet)

    def reached(folder):
        path = tmp_path / folder / "metrics.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        return max([json.loads(line)["step"] for line in lines if line.endswith("}")], default=0)

    assert start("whole").wait(300) == 0
    draw, kills = random.Random(0), 0
    while kills < 20:
        process, at = start("killed"), reached("killed") + draw.randrange(1, 12)
        while process.poll() is None and reached("killed") < min(at, 298):
            time.sleep(0.002)
        if process.poll() is not None:
            break
        time.sleep(draw.random() / 20)
        process.kill()
        process.wait()
        kills += 1
    assert start("killed").wait(300) == 0 and kills == 20
    whole, again = (state(tmp_path / name) for name in ("whole", "killed"))
    for part in ("trained", "ema", "objective", "optimizer_states"):
        assert equal(whole[part], again[part])


@pytest.mark.slow
def test_two_ranks_train_as_one(tmp_path):
    """The same images and draws; the adaptive weight is of the gradients of both."""
    results = {}
    for ranks in (1, 2):
        more = ["trainer=ddp", "trainer.accelerator=cpu", f"trainer.devices={ranks}", f"dir=of{ranks}"]
        command = [sys.executable, str(CONF.parent / "run.py"), *SMALL, *more, "trainer.max_steps=30"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        results[ranks] = json.loads((tmp_path / f"of{ranks}" / "run.json").read_text())["results"]
    for key in ("psnr", "kl", "val/loss", "rfid_digits64"):
        assert results[2][key] == pytest.approx(results[1][key], rel=5e-3)
    assert results[2]["cards"]["rfid_digits64"]["n"] == 180


def test_a_decoder_is_trained_on_and_longer_runs_begin_with_another(run, tmp_path):
    words = [*SMALL[:6], "autoencoder.adversarial.weight=0", "trainer.max_steps=2", "logger=none"]
    decoder = [*words, "autoencoder.train=decoder", f"init={run[0]}", "dir=decoder"]
    code, said = typed(tmp_path, *decoder)
    assert code == 0 and "beginning with all weights of" in said, said
    before, after = state(run[0])["ema"][0], state(tmp_path / "decoder")["trained"]
    words = ["task=compare", f"task.runs=[decoder,{run[0]}]", f"task.baseline={run[0]}", "dir=compared"]
    code, said = typed(tmp_path, *words)
    assert code == 0, said
    rows = json.loads((tmp_path / "compared" / "run.json").read_text())["results"]["comparisons"]
    found = {row["metric"]: row for row in rows}
    for metric in ("psnr", "ssim", "kl", "rfid_digits64", "raccuracy_svm"):
        assert found[metric]["paired"] and found[metric]["count"] == 180, found[metric]
    psnr = [load(folder).arrays["psnr/each"] for folder in (tmp_path / "decoder", run[0])]
    differences = psnr[0] - psnr[1]
    assert found["psnr"]["difference"] == pytest.approx(differences.mean())
    assert found["psnr"]["standard_error"] == pytest.approx(differences.std(ddof=1) / 180**0.5)
    assert found["kl"]["difference"] == 0 and found["kl"]["standard_error"] == 0  # the encoder is the same
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved and all(name.startswith(("decoder.", "from_latent.")) for name in moved)


def test_a_divergence_goes_back_once(tmp_path):
    words = [*SMALL[:3], "trainer.max_steps=6", "trainer.log_every_n_steps=1", "callbacks.checkpoint.every=1"]
    rate = ["optimizer.lr=1e14", "lr.warmup=0", "on_divergence=rollback", "logger=none", "dir=run"]
    code, said = typed(tmp_path, *words, *rate)
    assert code == 4 and "going back to step" in said and "it has gone back once" in said, said


def test_own_images_of_any_even_sides(tmp_path):
    """What the recipe of a folder leaves to us is chosen here too; few images have no metric by features."""
    draw = torch.Generator().manual_seed(0)
    (tmp_path / "photos").mkdir()
    for i in range(30):
        pixels = torch.randint(256, (12, 16, 3), dtype=torch.uint8, generator=draw).numpy()
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{i}.png")
    words = ["experiment=folder", "data.path=photos", "data.size=[12,16]", "trainer.max_steps=2"]
    code, said = typed(tmp_path, *words, "task=autoencoder", "logger=none", "dir=run")
    assert code == 0 and "latents of 6x8x4, 33% of the numbers of an image" in said, said
    results = json.loads((tmp_path / "run" / "run.json").read_text())["results"]
    assert results["psnr"] > 5 and not any(key.startswith("rfid") for key in results)


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["autoencoder.train=decoder"], "type init=RUN, of task=autoencoder"),
        (["autoencoder.kl=-1"], "kl=-1"),
        (["autoencoder=kl_f4_tiny", "autoencoder.network.channel_mult=[1,1,1,1,1]"], "16 times smaller"),
        (["terms=features"], "the classifier of fashion_mnist sees images of 1x28x28, not 1x8x8"),
        (["metrics=fashion_mnist"], "measures images of 1x28x28, not 1x8x8"),
        (["autoencoder.network.latent=3"], "latent"),
        (["trainer.max_steps=0"], "max_steps=0"),
        (["init=nowhere"], "init"),
        (["task=train", "autoencoder.kl=1"], "there is no autoencoder.kl without task=autoencoder"),
        (["autoencoder.klx=1"], "there is no autoencoder.klx: autoencoder has"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_before_a_folder_is_made(tmp_path, words, what):
    task = [] if words[0].startswith("task=") else ["task=autoencoder"]
    code, said = typed(tmp_path, *task, "logger=none", *words, "dir=run")
    assert code in (2, 3) and what in said and "Traceback" not in said, said
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("option", ["auto", "kl_f4_tiny", "kl_f8", "vae"])
def test_each_option_makes_an_autoencoder_of_its_images(option):
    from omegaconf import OmegaConf

    from diffexp.config.build import build
    from diffexp.networks.sized_autoencoder import autoencoder_for

    cfg, _ = composed(["task=autoencoder", f"autoencoder={option}"])
    node = OmegaConf.to_container(cfg.autoencoder, resolve=True)
    assert judge(node, "autoencoder") == []
    shape = (3, 32, 32)
    with torch.device("meta"):
        network = autoencoder_for(shape, build(node["network"], "autoencoder.network"))
    assert network.latent(shape) == {"kl_f8": (4, 4, 4), "vae": (16, 1, 1)}.get(option, (4, 8, 8))
    rate = {"kl_f8": 1e-4, "vae": 1e-3}.get(option, 3e-3)
    assert cfg.optimizer.lr == rate  # of its size


def test_a_file_names_no_other_network():
    (fault,) = judge({"_target_": "diffexp.networks.UNet", "_partial_": True}, "autoencoder.network")
    assert isinstance(fault, ConfigError) and "may not be built from a file" in fault.what
    recipe = yaml.safe_load((CONF / "task" / "autoencoder.yaml").read_text())
    assert recipe["defaults"] == ["_self_", {"/autoencoder": "auto"}]  # no other task has the group
