"""TAB: what a shell is told, and how long that takes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from commands import CONF

from diffexp.completion import completion
from diffexp.completion.candidates import candidates
from diffexp.config.search import searching
from diffexp.errors import ConfigError

ASK = """
source {script}
diffexp() {{ {python} -m diffexp "$@"; }}
ask() {{
    COMP_LINE="$1" COMP_POINT=${{#1}} COMPREPLY=()
    read -ra COMP_WORDS <<< "$1"
    rule=$(complete -p "${{COMP_WORDS[0]}}")
    rule="${{rule##*-F }}"
    "${{rule%% *}}"
    printf '%s|' "${{COMPREPLY[@]}}"
    echo
}}
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working directory with an option of one's own and two runs."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "conf" / "sampler").mkdir(parents=True)
    (tmp_path / "conf" / "sampler" / "ddmine.yaml").write_text("defaults: [ddim]\nmine: 1\n")
    for name in ("a/1", "b/two words"):
        (tmp_path / "runs" / name / "checkpoints").mkdir(parents=True)
        (tmp_path / "runs" / name / "run.json").write_text("{}")
    (tmp_path / "runs" / "latest").symlink_to("a/1")
    return tmp_path


KNOWN = [
    (["sampl"], ["sampler="]),
    (["sampler=dd"], ["sampler=ddim", "sampler=ddmine", "sampler=ddpm"]),
    (["-m", "sampler=ddim,ddp"], ["sampler=ddim,ddpm"]),
    (["sampler.e"], ["sampler.end=", "sampler.eta="]),
    (["sampler=ddmine", "sampler.m"], ["sampler.mine="]),
    (["sampler=nonsense", "evaluator.sc"], ["evaluator.scales="]),
    (["+terms="], ["+terms=clip", "+terms=features", "+terms=lpips", "+terms=none"]),
    (["hydra/launcher=r"], ["hydra/launcher=ray"]),
    (["eva"], ["evaluator."]),
    (["compile="], ["compile=true", "compile=false"]),
    (["-cn", "eta"], ["eta_steps"]),
    (["--cf"], ["--cfg"]),
    (["--cfg", "j"], ["job"]),
    (["task.ckpt="], ["task.ckpt=runs/latest", "task.ckpt=runs/b/two words", "task.ckpt=runs/a/1"]),
    (["resume=a"], ["resume=auto"]),
    (["com"], ["compile=", "completion"]),
    (["data.path="], []),
    (["-cd", ""], []),
    (["runs", "x"], []),
]


@pytest.mark.parametrize(("typed", "known"), KNOWN, ids=[" ".join(case[0]) for case in KNOWN])
def test_what_can_be_typed_next(here, typed, known):
    with searching(CONF, typed):
        assert candidates(CONF, typed) == known


def test_bash_is_answered_without_torch(here):
    (here / "none").mkdir()
    (here / "none" / "torch.py").write_text("raise SystemExit('torch was imported')")
    script = Path(sys.modules["diffexp.completion"].__file__).with_name("diffexp.bash")
    asked = [
        "diffexp sampl",
        "diffexp sampler=dd",
        "diffexp task.ckpt=runs/b",
        "diffexp task=train sampler.e",
    ]
    lines = [f"ask '{text}'" for text in [*asked, f"{sys.executable} {CONF.parent}/run.py sampl"]]
    code = ASK.format(script=script, python=sys.executable) + "\n".join(lines[:-1])
    code += f"\ncomplete -F _diffexp_python {sys.executable}\n{lines[-1]}\n"
    path = f"{here / 'none'}:{CONF.parent / 'src'}"
    done = subprocess.run(
        ["bash", "--norc", "-c", code], cwd=here, env=os.environ | {"PYTHONPATH": path},
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.stdout.splitlines() == [
        "sampler=|",
        "ddim|ddmine|ddpm|",  # bash replaces what follows the =
        r"runs/b/two\ words|",
        "sampler.end=|sampler.eta=|",
        "sampler=|",
    ], done.stderr


@pytest.mark.parametrize(
    ("shell", "place"),
    [
        ("bash", ".local/share/bash-completion/completions/diffexp"),
        ("zsh", ".local/share/zsh/site-functions/_diffexp"),
        ("fish", ".config/fish/completions/diffexp.fish"),
    ],
)
def test_it_is_installed_by_one_command_that_says_what_it_wrote(tmp_path, monkeypatch, capsys, shell, place):
    for name in ("XDG_DATA_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SHELL", f"/bin/{shell}")
    assert completion(CONF, []) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"written: {tmp_path / place}; nothing else was changed\n")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / place]
    assert completion(CONF, [shell, "--print"]) == 0
    assert capsys.readouterr().out == (tmp_path / place).read_text()


def test_an_unknown_shell_is_asked_for(monkeypatch):
    monkeypatch.setenv("SHELL", "/bin/tcsh")
    with pytest.raises(ConfigError, match="name one of bash, zsh, fish"):
        completion(CONF, [])
