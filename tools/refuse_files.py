"""Refuse files that do not belong in the history: large ones, and binary ones outside of their folders.

    python3 tools/refuse_files.py FILE...

Paths are those of the repository, from its root. Says which are refused and why, and then exits with 1.
"""

from __future__ import annotations  # python3 may be an old one of the system

import re
import sys
from pathlib import Path

MOST_BYTES = 500_000
PLACES = re.compile(
    r"docs/(.+/)?[^/]+\.png|src/diffexp/(.+/)?weights/[^/]+\.safetensors"
    r"|tests/fixtures/.+\.(ckpt|safetensors)"
)
KINDS = re.compile(
    r"\.(whl|egg|zip|tar|tgz|gz|bz2|xz|zst|7z|rar|ckpt|pt|pth|bin|pkl|pickle|safetensors|onnx|h5|npy|npz)$",
    re.IGNORECASE,
)


def fault(path: str) -> str | None:
    """Return why a file may not be committed, None if it may; links and what is not there may."""
    file = Path(path)
    if file.is_symlink() or not file.is_file():
        return None
    if file.stat().st_size > MOST_BYTES:
        return f"{file.stat().st_size:,} bytes, more than {MOST_BYTES:,}"
    if PLACES.fullmatch(path):
        return None
    if KINDS.search(path) or b"\0" in file.read_bytes():  # as git tells binary from text
        return "a binary file; pictures lie in docs/, the weights of shipped networks in a folder weights/"
    return None


if __name__ == "__main__":
    refused = [f"{path}: {why}" for path in sys.argv[1:] if (why := fault(path))]
    print(*refused, sep="\n", end="\n" if refused else "")
    sys.exit(bool(refused))
