"""Refuse a commit message whose subject is longer than 72 letters, or not followed by an empty line.

    python3 tools/check_message.py FILE

FILE is the one that git gives to its hook commit-msg. Says what is wrong, and then exits with 1.
"""

from __future__ import annotations  # python3 may be an old one of the system

import sys
from pathlib import Path

MOST_LETTERS = 72
WRITTEN_BY_GIT = ("Merge ", "Revert ", "fixup! ", "squash! ", "amend! ")


def faults(message: str) -> list[str]:
    """Return what is wrong with a message, [] for a good one, or one that git has written itself."""
    text = "\n".join(line for line in message.split("\n") if not line.startswith("#"))
    subject, second, *_ = [*text.strip().split("\n"), ""]
    wrong = []
    if len(subject) > MOST_LETTERS:
        wrong.append(
            f"the subject has {len(subject)} letters, more than {MOST_LETTERS}: leave some to the body"
        )
    if second.strip():
        wrong.append("the second line is not empty: leave a line before the body")
    return [] if subject.startswith(WRITTEN_BY_GIT) else wrong


if __name__ == "__main__":
    wrong = faults(Path(sys.argv[1]).read_text(encoding="utf-8"))
    print(*wrong, sep="\n", end="\n" if wrong else "")
    sys.exit(bool(wrong))
