"""The command lines that a page of the documentation shows, and whether they can be typed."""

import ast
import re
import shlex
from functools import cache

from commands import CONF
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig

from diffexp.config.compat import BASE
from diffexp.config.quoting import quoted

ROOT = CONF.parent
MAKE = dict(re.findall(r"^(\w+):.*\n((?:\t.*\n)*)", (ROOT / "Makefile").read_text(), re.MULTILINE))
PROGRAMS = r"(?:python run\.py|diffexp|make|python (?:benchmarks|tools)/\w+\.py)"
SUBCOMMANDS = {"runs", "completion"}  # of diffexp, beside its options


def commands(text):
    """The command lines of a page: of indented and fenced blocks, and between backticks."""
    text = re.sub(r" \\\n +", " ", text)
    blocks = re.findall(rf"^(?: {{4,}})?({PROGRAMS}(?: .*)?)$", text, re.MULTILINE)
    blocks = [re.sub(r"  +[#a-z(].*|\s+#.*", "", line) for line in blocks]  # without what is said behind it
    inline = re.findall(rf"`({PROGRAMS} [^`\n]+)`", text)
    return [line for line in dict.fromkeys([*blocks, *inline]) if "..." not in line]


@cache
def check(line):
    """Raise an exception where a command line would not be understood."""
    program, *words = shlex.split(line)
    if program == "make":
        _check_make(words)
    elif program == "python" and words[0] != "run.py":
        _check_script(ROOT / words[0], words[1:])
    elif words[:1] != [] and words[0] in SUBCOMMANDS:
        assert all(word.isalpha() or word in ("--json", "--print") for word in words)
    else:
        _compose(words[1:] if program == "python" else words)


def _compose(words):
    """Compose what follows `python run.py`; a sweep as often as its longest list of values."""
    folder, name, typed, rest = CONF, "config", list[str](), iter(words)
    for word in rest:
        if word == "-cn":
            name = next(rest)
            folder = ROOT / "sweeps"
        elif word in ("-cd", "--cfg"):
            next(rest)
        elif word not in ("-m", "--help"):
            typed.append(word)
    typed = quoted(typed)  # as cli.py does
    choices = [_values(override) for override in OverridesParser.create().parse_overrides(typed)]
    assert "-m" in words or all(len(values) == 1 for values in choices), "several values without -m"
    for i in range(max(map(len, choices), default=1)):
        these = [values[i % len(values)] for values in choices]
        options = tuple(text for text in these if _is_option(text))
        left = [text for text in these if text not in options]
        if left and _all_there(_composed(folder, name, options), left):
            continue
        _composed(folder, name, tuple(these))


@cache
def _composed(folder, name, typed):
    with initialize_config_dir(str(folder), **BASE):
        return compose(name, [f"hydra.searchpath=[file://{CONF}]", *typed], return_hydra_config=True)


def _is_option(text):
    group = text.partition("=")[0].lstrip("+~").partition("@")[0]
    return text.startswith("~") or (CONF / group).is_dir()


def _all_there(node, typed):
    """Whether these keys are in what is composed without them: Hydra then takes any values of theirs."""
    for text in typed:
        here = node
        for part in text.partition("=")[0].split("."):
            if not isinstance(here, DictConfig) or part not in here:
                return False
            here = here._get_node(part)
    return True


def _values(override):
    if not override.is_sweep_override():
        return [override.input_line]
    return [f"{override.key_or_group}={value}" for value in override.sweep_string_iterator()]


def _check_script(file, words):
    """Raise where the argparse of a script has not got these options; a name without dashes is a place."""
    calls = [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Call)]
    known = {call.args[0].value for call in calls if getattr(call.func, "attr", "") == "add_argument"}
    assert {word for word in words if word.startswith("-")} <= known, known
    assert not words or words[0].startswith("-") or any(not name.startswith("-") for name in known)


def _check_make(words):
    assert words[0] in MAKE, f"no target {words[0]}"
    typed = shlex.split(words[1].removeprefix("ARGS=")) if words[1:] else []
    if words[0] == "run":
        _compose(typed)
    elif words[0] == "test":
        assert [word for word in typed if word.startswith("tests") and not (ROOT / word).exists()] == []
    elif typed:
        _check_script(ROOT / re.findall(r"\S+\.py", MAKE[words[0]])[0], typed)
