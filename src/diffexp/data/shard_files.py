"""The files of a data set in large files, by a pattern of their names."""

from fnmatch import fnmatch
from pathlib import Path

from diffexp.data.regular import Links, check_link, walk
from diffexp.data.tar_members import PACKED, packed
from diffexp.errors import DataError


def find_files(path: Path, pattern: str, links: Links, what: str) -> list[Path]:
    """Return a file, or those below a folder whose names, or paths in it, match, in the order of their
    names. Raises DataError where there is none, or one is compressed as a whole.
    """
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise DataError("there is no such folder", str(path), f"type data.path=FOLDER, that of the {what}")
    there = [file for file in walk(path, links) if not file.name.startswith(".")]
    named = [file for file in there if _matches(file, path, pattern)]
    by_suffix = {suffix: (kind, tool) for kind, suffix, tool in PACKED.values()} | {
        ".tgz": ("gzip", "gunzip")
    }
    for file in sorted(there):
        plain = file.with_suffix(".tar" if file.suffix == ".tgz" else "")
        if file.suffix in by_suffix and plain not in there and _matches(plain, path, pattern):
            kind, tool = by_suffix[file.suffix]
            raise packed(file, kind, f"{tool} {file.parent}/*{file.suffix}")
    if not named:
        ends = sorted({f"*{file.suffix}" for file in there})[:10]
        do = f"type 'data.files=\"{ends[0]}\"'" if ends else f"type data.path=FOLDER, that of the {what}"
        what = f"no file in this folder matches {pattern}, but there is {', '.join(ends) or 'nothing'}"
        raise DataError(what, str(path), do)
    for file in named:
        check_link(file, path, links)
    return sorted(named)


def _matches(file: Path, root: Path, pattern: str) -> bool:
    return fnmatch(file.name, pattern) or fnmatch(str(file.relative_to(root)), pattern)
