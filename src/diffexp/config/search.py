"""The folders that options are looked for in: the shipped one, and a person's own beside it.

In this order: the shipped conf/, what was typed with --config-dir, ./conf of the working directory, the
shipped sweeps/. So one's own options are added to the shipped ones and replace none of them. What a file may
name is judged by the shipped ones alone (catalogue.py).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from diffexp.config.argv import config_dir
from diffexp.notice import warn

_folders: list[Path] = []


@contextmanager
def searching(shipped: Path, typed: Sequence[str]) -> Iterator[None]:
    """Look for options in the folders of this command line, until the end."""
    global _folders
    before, _folders = _folders, [shipped.resolve(), *_own(shipped, typed), *_sweeps(shipped)]
    try:
        yield
    finally:
        _folders = before


def beside() -> list[Path]:
    """Return the folders beside the shipped one; [] where no command line is at work."""
    return _folders[1:]


def options(shipped: Path, group: str) -> list[str]:
    """Return the names of the options of a group, "" for files that name a whole command (-cn)."""
    folders = dict.fromkeys([shipped, *beside()])
    names = {path.stem for folder in folders for path in (folder / group).glob("*.yaml")}
    return sorted(name for name in names if not name.startswith("_"))


def groups(shipped: Path) -> list[str]:
    """Return the names of the groups, without Hydra's own."""
    folders = [path for folder in dict.fromkeys([shipped, *beside()]) for path in folder.iterdir()]
    return sorted({path.name for path in folders if path.is_dir() and path.name != "hydra"})


def hidden(shipped: Path) -> None:
    """Say which options of one's own have the name of a shipped one, which is taken."""
    for own in [folder for folder in beside() if folder.name != "sweeps"]:
        paths = [path.relative_to(own) for path in sorted(own.glob("*/*.yaml"))]
        same = [path for path in paths if (shipped / path).is_file()]
        if same:
            option = "=".join(same[0].with_suffix("").parts)
            more = f" and {len(same) - 1} more" if len(same) > 1 else ""
            warn(f"{option}{more} in {own} is not used: the shipped option has that name; give yours another")


def without_shipped(typed: Sequence[str]) -> list[str]:
    """Return the words without `-cd sweeps` where there is no such folder: the shipped sweeps are found."""
    pairs = zip(typed, ["", *typed], [*typed[1:], ""], strict=False)
    asked = {("-cd", "sweeps"), ("--config-dir", "sweeps")}
    if Path("sweeps").is_dir():
        return list(typed)
    kept = [word for word, before, after in pairs if not asked & {(word, after), (before, word)}]
    return [word for word in kept if word not in ("-cd=sweeps", "--config-dir=sweeps")]


def _own(shipped: Path, typed: Sequence[str]) -> list[Path]:
    folders = (config_dir(typed), Path("conf"))
    own = dict.fromkeys(folder.resolve() for folder in folders if folder and folder.is_dir())
    return [folder for folder in own if folder != shipped.resolve()]


def _sweeps(shipped: Path) -> list[Path]:
    folder = shipped.resolve().parent / "sweeps"
    return [folder] if folder.is_dir() else []
