"""The wheel, as one has it who never cloned: built once, used from a folder with a blank in its name."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from commands import QUICK

ROOT = Path(__file__).parents[2]
ALONE = """
import sys
ROOTS = {"torch", "torchgen", "functorch", "numpy", "diffexp", "filelock", "typing_extensions", "sympy",
         "mpmath", "networkx", "jinja2", "markupsafe", "fsspec", "triton", "nvidia", "setuptools"}
class TorchAlone:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in ROOTS | sys.stdlib_module_names:
            raise ModuleNotFoundError(f"no module named {name}", name=name)
sys.meta_path.insert(0, TorchAlone())
"""
DENOISE = """
import diffexp.conditioning, diffexp.codecs, diffexp.networks, diffexp.model.restore
import torch
from diffexp.diffusion import Denoiser, FixedSmall, Gaussian, X0, cosine
from diffexp.samplers import DDIM

schedule, parts = cosine(), (X0(), FixedSmall())
model = Denoiser(Gaussian(schedule, *parts, mean=0.2, std=0.5), schedule, *parts)
z = torch.randn(4, 1, 2, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
x = DDIM(steps=500).sample(model, schedule, lambda k: z)
print(float((x - (0.2 + 0.5 * z)).abs().max()))
"""


@pytest.fixture(scope="session")
def installed(tmp_path_factory):
    """The folder where the wheel is installed, without what it depends on."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True, timeout=60)
    (wheel,) = folder.glob("*.whl")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-deps"]
    target = folder / "installed"
    subprocess.run([*pip, "--no-index", "--target", target, wheel], check=True, timeout=60)
    return target


@pytest.fixture(scope="session")
def person(installed, tmp_path_factory):
    """person(*words): what a program says that is run with the installed package, in one empty folder."""
    folder = tmp_path_factory.mktemp("someone") / "my work"
    folder.mkdir()

    def run(*words, code=0, **more):
        env = os.environ | {"PYTHONPATH": str(installed), "HYDRA_FULL_ERROR": "0"} | more
        done = subprocess.run(
            list(map(str, words)), cwd=folder, env=env, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    run.folder, run.script = folder, installed / "bin" / "diffexp"
    return run


def test_the_core_needs_torch_and_numpy_alone(person):
    """DDIM's way from noise z to N(0.2, 0.5²) ends at 0.2 + 0.5 z."""
    assert float(person(sys.executable, "-c", ALONE + DENOISE)) < 0.01


def test_the_wheel_holds_its_options_and_its_types(installed):
    paths = [*(ROOT / "conf").rglob("*.yaml"), *(ROOT / "sweeps").rglob("*.yaml")]
    names = [path.relative_to(ROOT) for path in paths]
    assert len(names) > 100 and all((installed / "diffexp" / name).is_file() for name in names)
    assert (installed / "diffexp" / "py.typed").is_file()
    shells = {path.suffix for path in (installed / "diffexp" / "completion").glob("diffexp.*")}
    assert shells == {".bash", ".zsh", ".fish"}


@pytest.mark.parametrize("how", ["script", "module"])
def test_help_and_typos_need_no_clone_and_no_torch(person, tmp_path, how):
    (tmp_path / "torch.py").write_text("raise SystemExit('torch was imported')")
    path = f"{person.script.parents[1]}:{tmp_path}"
    words = [person.script] if how == "script" else [sys.executable, "-m", "diffexp"]
    name = "diffexp" if how == "script" else "python -m diffexp"
    assert f"\n  {name} experiment=mnist" in person(*words, "--help", PYTHONPATH=path)
    said = person(*words, "sampler.eat=0", code=2, PYTHONPATH=path)
    assert "type sampler.eta=..." in said and len(said.splitlines()) == 3


def test_one_trains_and_sweeps_from_any_folder(person):
    own = person.folder / "conf" / "sampler"
    own.mkdir(parents=True)
    (own / "mine.yaml").write_text("# DDIM with half of the noise\ndefaults: [ddim]\neta: 0.5\n")
    (own / "ddpm.yaml").write_text("defaults: [ddim]\n")
    said = person(person.script, "--cfg", "job", "-p", "sampler", "sampler=mine")
    assert "eta: 0.5" in said and "sampler=ddpm in " in said and "is not used" in said
    said = person(person.script, "sampler=mien", code=2)
    assert "ipndm_3, lms, mine, plms" in said and "type sampler=mine" in said

    quick = [text for text in QUICK if not text.startswith("trainer")]
    typed = [*quick, "trainer.max_steps=2", "metrics=none", "sampler=mine", "dir=runs/my run"]
    said = person(person.script, *typed)
    assert "DDIM(steps=3" in said and "eta=0.5" in said
    assert os.readlink(person.folder / "runs" / "latest") == "my run"
    assert "my run" in person(person.script, "runs") and "finished" in person(person.script, "runs")

    typed = ["-cn", "eta_steps", "task.ckpt=runs/latest", "sampler.steps=2,3", "sampler.eta=0"]
    said = person(sys.executable, "-m", "diffexp", "-cd", "sweeps", *typed, "metrics=none", "dry_run=true")
    assert "2 jobs to do" in said, said
