"""diffexp completion: have bash, zsh or fish complete our command line.

A shell calls `diffexp completion query -- WORDS`, which prints what the last word may become, one a line.
"""

import argparse
import os
import shlex
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from diffexp.config.argv import command
from diffexp.config.search import searching
from diffexp.errors import ConfigError, ResourceError
from diffexp.files import make_folder, write
from diffexp.notice import say

SHELLS = ("bash", "zsh", "fish")


def completion(conf: Path, typed: Sequence[str]) -> int:
    """Answer a shell, print its script, or write that where the shell looks for it; return the exit code."""
    if typed[:2] == ["query", "--"]:
        return _answer(conf, typed[2:])
    parser = argparse.ArgumentParser(
        prog=f"{shlex.join(command())} completion", description="Have your shell complete our command line."
    )
    parser.add_argument("shell", nargs="?", choices=SHELLS, help="the shell that you use, without it")
    parser.add_argument("--print", action="store_true", help="print the script, and write nothing")
    asked = parser.parse_args(list(typed))
    shell = asked.shell or Path(os.environ.get("SHELL", "")).name
    if shell not in SHELLS:
        raise ConfigError(
            f"SHELL={shell} is not known here", "completion", f"name one of {', '.join(SHELLS)}"
        )
    text = files("diffexp").joinpath("completion", f"diffexp.{shell}").read_text()
    if asked.print:
        print(text, end="")
        return 0
    _install(shell, text)
    return 0


def _answer(conf: Path, words: Sequence[str]) -> int:
    from diffexp.completion.candidates import candidates

    try:
        with searching(conf, words):
            print("\n".join(candidates(conf, words)))
    except Exception:  # whatever it is: a shell that completes is not the place to say so
        return 1
    return 0


def _install(shell: str, text: str) -> None:
    home = Path.home()
    data = Path(os.environ.get("XDG_DATA_HOME") or home / ".local/share")
    config = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
    path, more = {
        "bash": (
            data / "bash-completion/completions/diffexp",
            "new shells have it where bash-completion is installed; else, and for `python run.py`, add to "
            "~/.bashrc:\n  source {}",
        ),
        "zsh": (
            data / "zsh/site-functions/_diffexp",
            "add to ~/.zshrc, above compinit, unless it is there:\n  fpath=({} $fpath)",
        ),
        "fish": (config / "fish/completions/diffexp.fish", "new shells have it"),
    }[shell]
    try:
        make_folder(path.parent)
    except OSError as error:
        raise ResourceError(f"cannot be made: {error.strerror}", str(path.parent), "see --print") from error
    write(path, text)
    say(f"written: {path}; nothing else was changed")
    say(more.format(shlex.quote(str(path.parent if shell == "zsh" else path))))
