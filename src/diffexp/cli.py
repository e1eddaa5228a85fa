"""The command line: compose with Hydra, run the task, say what went wrong in three lines.

torch and Lightning are imported in the job only, so that --help and a typo answer at once.
"""

import os
import shlex
import sys
import traceback
from functools import partial
from importlib import metadata
from pathlib import Path

import hydra
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from diffexp.config.argv import command, command_line
from diffexp.config.catalogue import conf_folder
from diffexp.config.compat import BASE, register_resolver
from diffexp.config.quoting import quoted
from diffexp.config.search import hidden, searching, without_shipped
from diffexp.errors import ConfigError, DiffexpError, ResourceError, as_ours
from diffexp.run.latest import with_latest
from diffexp.training.launched import die_with_launcher

_INTERRUPTED, _SAVED = 130, 75


def main(conf: Path | None = None) -> int:
    """Run what the command line asks for, with the options in the folder `conf`, or the shipped ones; return
    the exit code.

    A sweep (-m) is run by diffexp.sweep.launcher.
    """
    die_with_launcher()
    wanted = os.environ.get("HYDRA_FULL_ERROR", "0")
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra is to raise, not to print
    _register()
    try:
        return _answer(conf or conf_folder(), full=wanted == "1")
    finally:
        os.environ["HYDRA_FULL_ERROR"] = wanted


def _answer(conf: Path, full: bool) -> int:
    """Run the command line; full: errors are raised, with their traceback. Return the exit code."""
    try:
        if sys.argv[1:] == ["--version"]:
            print(f"diffexp {metadata.version('diffexp')}")
            return 0
        if sys.argv[1:2] == ["runs"]:
            from diffexp.listing import runs

            return runs(sys.argv[2:])
        if sys.argv[1:2] == ["completion"]:
            from diffexp.completion import completion

            return completion(conf, sys.argv[2:])
        before, typed = _again(with_latest(without_shipped(quoted(sys.argv[1:]))))
        if folders := [text.partition("=")[2] for text in typed if text.startswith("dir=")]:
            from diffexp.run.results import keep_standing

            keep_standing(Path(folders[-1].strip("'\"")))
        with command_line(typed), searching(conf, typed):
            hidden(conf)
            return _main(conf, before, full)
    except DiffexpError as error:
        return _say(error, full)
    except BrokenPipeError:  # of `diffexp runs | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what Python still has to write
        return 0
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        return _INTERRUPTED


def _main(conf: Path, before: list[str], full: bool) -> int:
    """Have Hydra compose what sys.argv says, and run it; return the exit code."""
    code = 0

    def job(cfg: DictConfig) -> None:
        nonlocal code
        try:
            _run(cfg, before, conf)
        except DiffexpError as error:  # shown here, for Hydra would add its own words
            said = _say(error, full)
            code = code or said
        except Exception as error:
            said = _say(as_ours(error) or _unexpected(error), full, error)
            code = code or said

    try:
        hydra.main(config_path=str(conf.resolve()), config_name="config", **BASE)(job)()
    except SystemExit as end:  # of a sweep in which jobs failed, or of Hydra's parser
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except DiffexpError as error:  # of a sweep, before its jobs
        return _say(error, full)
    except (HydraException, OmegaConfBaseException, YAMLError, TypeError, ValueError, LookupError) as error:
        # of composing: what a job raises is shown above
        from diffexp.config.hydra_errors import explain

        return _say(explain(error, sys.argv[1:], conf), full, error)
    except BrokenPipeError:
        raise
    except OSError as error:  # Hydra makes the folder before anything is checked
        do = "choose another folder with dir=..., or make this one writable"
        where = str(error.filename or "")
        return _say(ResourceError(f"cannot write to {where}: {error.strerror}", where, do), full, error)
    return code


def _again(typed: list[str]) -> tuple[list[str], list[str]]:
    """Return what was typed for the run of resume=FOLDER, and the command line with what is typed now."""
    given = [t.partition("=")[2] for t in typed if t.startswith("resume=")]
    if not given or given[-1] in ("auto", "never"):
        return [], typed
    from diffexp.config.suggest import path_of
    from diffexp.config.untrusted import typed_again, typed_before

    if {"-m", "--multirun"} & set(typed):
        do = "leave -m away, or type the sweep's own command again"
        raise ConfigError("resume=FOLDER goes on with one run, not with a sweep", "resume", do)
    folder, now = path_of(given[-1].strip("'\""), "resume"), [t for t in typed if not t.startswith("resume=")]
    try:
        before = typed_before(folder, any(t.startswith("plugins=") for t in now))
    except OSError as error:
        do = "give the folder of a run, which has checkpoints/ and overrides.yaml"
        raise ConfigError(f"there is no run in {folder}", "resume", do) from error
    return before, typed_again(folder, before, typed)


def _register() -> None:
    """Register `sweep_id`, which names the folder of a sweep in config.yaml, and `command`, of the help."""
    from diffexp.sweep.cell import folder_id

    register_resolver("sweep_id", folder_id, replace=True)
    register_resolver("command", lambda: shlex.join(command()).replace("$", "$$"), replace=True)


def _say(error: DiffexpError, full: bool, cause: Exception | None = None) -> int:
    if full:
        raise cause or error
    print(error if error.code == _SAVED else f"error: {error}", file=sys.stderr)
    return error.code


def _unexpected(error: Exception) -> DiffexpError:
    """Return the error for a mistake of ours: where it is, and where more is to be read."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    do = "see the log in the run folder, or run again with HYDRA_FULL_ERROR=1 for the traceback"
    return DiffexpError(f"{type(error).__name__}: {error}", f"{last.filename}:{last.lineno}", do)


def _run(cfg: DictConfig, before: list[str], conf: Path) -> None:
    from hydra.core.hydra_config import HydraConfig

    from diffexp.config.hydra_errors import before_imports
    from diffexp.run.results import remove_if_empty

    hydra_config = HydraConfig.get()
    folder = Path(hydra_config.runtime.output_dir)
    try:
        typed, choices = list(hydra_config.overrides.task), dict(hydra_config.runtime.choices)
        before_imports(cfg, typed, conf)
        from diffexp.tasks.run import run_job

        try:
            run_job(cfg, folder, typed, choices, before)
        except ConfigError as error:
            if hydra_config.job.config_name != "config":  # a file of the person's own says the rest
                raise
            from diffexp.config.hydra_errors import configured
            from diffexp.tasks.mend import mended

            raise mended(error, typed, choices, folder, partial(configured, conf)) from error
    finally:
        os.chdir(hydra_config.runtime.cwd)  # hydra.job.chdir=true works in the folder
        remove_if_empty(folder)
