"""Options of one's own beside the shipped ones, and the words with which the program was begun."""

import runpy
import sys
from pathlib import Path

import pytest
from commands import CONF
from forked import forked

from diffexp.config.argv import begins, command, command_line, config_dir
from diffexp.config.catalogue import judge
from diffexp.config.search import beside, options, searching, without_shipped
from diffexp.config.suggest import goes_on

SRC = CONF.parent / "src" / "diffexp"


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working directory with options in ./conf, and others in ./more."""
    monkeypatch.chdir(tmp_path)
    for folder, name, eta in (("conf", "mine", 0.25), ("conf", "ddpm", 0.5), ("more", "third", 0.75)):
        (tmp_path / folder / "sampler").mkdir(parents=True, exist_ok=True)
        (tmp_path / folder / "sampler" / f"{name}.yaml").write_text(f"defaults: [ddim]\neta: {eta}\n")
    (tmp_path / "conf" / "config.yaml").write_text("of: another program\n")
    (tmp_path / "conf" / "study.yaml").write_text("defaults: [config, {override sampler: mine}, _self_]\n")
    return tmp_path


def type_(here, *typed, code=0):
    given, said = forked(typed, here, here / "said")
    assert given == code, said
    return said


def test_they_are_found_beside_the_shipped_ones_and_replace_none(here):
    assert "eta: 0.25" in type_(here, "--cfg", "job", "-p", "sampler", "sampler=mine")
    said = type_(here, "--cfg", "job", "-p", "sampler", "sampler=ddpm")
    assert "diffexp.samplers.DDPM" in said
    assert f"warning: sampler=ddpm in {here / 'conf'} is not used: the shipped option has that name" in said
    assert "eta: 0.75" in type_(here, "-cd", "more", "--cfg", "job", "-p", "sampler", "sampler=third")
    assert "eta: 0.25" in type_(here, "-cn", "study", "--cfg", "job", "-p", "sampler")
    assert "mine" in type_(here, "--help") and "third" not in type_(here, "--help")


def test_a_typo_is_answered_with_them(here):
    said = type_(here, "-cd", "more", "sampler=mien", code=2)
    assert "lms, mine, plms" in said and "restart, third, unipc" in said and "type sampler=mine" in said
    said = type_(here, "-cn", "stduy", code=2)
    assert "there is no stduy.yaml; there are adapters, autoencoder, ddpm_table2," in said
    assert "type -cn study" in said


@pytest.mark.parametrize("typed", [["-cn", "eta_steps"], ["-cd", "sweeps", "-cn", "eta_steps"]])
def test_the_shipped_sweeps_are_found_from_anywhere(here, typed):
    said = type_(here, *typed, "--cfg", "job", "-p", "sweep")
    assert "rows: sampler.eta" in said


def test_a_file_may_name_what_is_shipped_alone(here):
    """One's own ./conf is for what one types, and not for what a checkpoint says."""
    (here / "conf" / "sampler" / "evil.yaml").write_text("_target_: shutil.rmtree\npath: x\n")
    with searching(CONF, []):
        assert "evil" in options(CONF, "sampler")
        (error,) = judge({"_target_": "shutil.rmtree", "path": "x"}, "sampler")
    assert "shutil.rmtree may not be built from a file as sampler" in str(error)


def test_other_programs_that_use_hydra_are_left_alone(here):
    assert beside() == []
    with searching(CONF, ["-cd", "more"]):
        assert beside() == [here / "more", here / "conf", CONF.parent / "sweeps"]
    assert beside() == []


def test_the_conf_of_a_clone_is_no_ones_own(monkeypatch):
    monkeypatch.chdir(CONF.parent)
    with searching(CONF, ["--config-dir=conf"]):
        assert beside() == [CONF.parent / "sweeps"]


def test_cd_sweeps_is_taken_as_typed_where_there_is_such_a_folder(here):
    typed = ["-cd", "sweeps", "-cn", "x", "seed=1"]
    assert without_shipped(typed) == ["-cn", "x", "seed=1"]
    assert without_shipped(["--config-dir=sweeps", "-m"]) == ["-m"] and without_shipped([]) == []
    (here / "sweeps").mkdir()
    assert without_shipped(typed) == typed


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("somewhere/bin/diffexp", ["diffexp"]),
        (f"{SRC}/__main__.py", ["python", "-m", "diffexp"]),
        ("run.py", ["python", "run.py"]),
        (f"{CONF.parent}/run.py", ["python", f"{CONF.parent}/run.py"]),
        ("pytest", ["python", "run.py"]),
    ],
)
def test_what_is_to_be_pasted_begins_as_one_began(monkeypatch, tmp_path, program, words):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [program])
    assert command() == words
    assert command(here=False) == (["python", "run.py"] if words[-1].endswith("run.py") else words)
    assert goes_on(Path("a b")) == " ".join([*words, "'resume=a b'"])


def test_ranks_of_a_job_have_its_own_command_line_and_options(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["run.py", "-m", "-cd", "more", "seed=0,1"])
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", object())
    begun, before = begins(), sys.modules["__main__"].__spec__
    assert begun == [str(tmp_path / "run.py"), "-cd", str(tmp_path / "more")]
    with command_line(["seed=0"], begun):
        assert sys.argv == [*begun, "seed=0"]
        assert sys.modules["__main__"].__spec__ is None  # else Lightning would run the sweep again
    assert sys.modules["__main__"].__spec__ is before and sys.argv[-1] == "seed=0,1"
    assert config_dir(["a=1", "--config-dir=b"]) == tmp_path / "b" and config_dir(["a=1", "-cd"]) is None


def test_run_by_its_path_the_package_shadows_no_module(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(SRC), *sys.path])
    runpy.run_path(str(SRC / "__main__.py"), run_name="of a rank")
    assert sys.path[0] == str(SRC.parent)
