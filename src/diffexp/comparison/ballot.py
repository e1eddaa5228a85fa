"""The questions of a vote, and its key: which image of which run stands where, in vote.json, which voters do
not get.

Sides and order are a function of the seed; the page deals both anew for each voter. Each run is on the left
as often as on the right against each other one, up to one pair.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import blake2b
from itertools import combinations
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from diffexp.errors import DataError
from diffexp.files import read_json, write

Kind = Literal["pairs", "mos"]
Check = Literal["", "same", "real", "noise"]
NAME, FORMAT = "vote.json", 1
REAL, NOISE = -1, -2  # in place of a run
CHOICES = {"pairs": ("left", "right", "tie"), "mos": (1, 2, 3, 4, 5)}
LOW = (1, 2)  # what noise may be marked with
Facts = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Question:
    """image: the number of the images among those of each run; shown: the run of each, left and right, or of
    the only one; check: what it checks of the voter.
    """

    id: str
    image: int
    shown: tuple[int, ...]
    check: Check = ""

    def passed(self, answer: str | int) -> bool:
        """Return whether a check was answered as it can only be answered."""
        if self.check == "same":
            return answer == "tie"
        if self.check == "real":
            return answer == ("left", "right")[self.shown.index(REAL)]
        return answer in LOW


@dataclass(frozen=True)
class Ballot:
    """The key of a vote. page: the digest of its page; runs: their names."""

    kind: Kind
    page: str
    runs: tuple[str, ...]
    questions: tuple[Question, ...]


class _Made(NamedTuple):
    image: int
    shown: tuple[int, ...]
    check: Check = ""


def images_needed(kind: Kind, runs: int, n: int) -> int:
    """Return of how many numbers images are shown by n questions."""
    return n if kind == "pairs" else -(-n // runs)


def questions(kind: Kind, runs: int, n: int, checks: Sequence[Check], seed: int) -> list[Question]:
    """Return n questions in random order, among them these checks.

    pairs: each number once, its two runs in turn of all pairs of runs; mos: each number of each run.
    """
    random = np.random.default_rng(int.from_bytes(blake2b(f"vote {seed}".encode(), digest_size=8).digest()))
    made = [_Made(u // runs, (u % runs,)) for u in range(n)] if kind == "mos" else _pairs(runs, n, random)
    images = images_needed(kind, runs, n)
    for check in checks:
        image, run = int(random.integers(images)), int(random.integers(runs))
        turned = (REAL, NOISE) if random.integers(2) else (NOISE, REAL)
        shown = {"same": (run, run), "real": turned, "noise": (NOISE,)}[check]
        made.append(_Made(image, shown, check))
    order = random.permutation(len(made))
    return [Question(_id(seed, place), *made[i]) for place, i in enumerate(order)]


def _pairs(runs: int, n: int, random: np.random.Generator) -> list[_Made]:
    both = list(combinations(range(runs), 2))
    each = {pair: list(range(k, n, len(both))) for k, pair in enumerate(both)}
    made = list[_Made]()
    for (i, j), numbers in each.items():
        turned = random.permutation(len(numbers)) % 2
        made += [_Made(u, (j, i) if t else (i, j)) for u, t in zip(numbers, turned, strict=True)]
    return made


def _id(seed: int, place: int) -> str:
    return blake2b(f"question {seed} {place}".encode(), digest_size=6).hexdigest()


def save(folder: Path, ballot: Ballot, about: Facts, images: Facts) -> Path:
    """Write vote.json. about, images: what is known of each run, and of the images of each number."""
    path, described = folder / NAME, [asdict(q) for q in ballot.questions]
    runs = [{"name": name, **more} for name, more in zip(ballot.runs, about, strict=True)]
    key = {"format": FORMAT, "kind": ballot.kind, "page": ballot.page, "runs": runs}
    write(path, json.dumps(key | {"questions": described, "images": list(images)}, indent=1) + "\n")
    return path


def load(folder: Path) -> Ballot:
    """Read vote.json of a folder. Raises DataError."""
    path = folder / NAME
    if not path.is_file():
        do = "give the folder of a task=vote, with vote.html and vote.json"
        raise DataError("there is no vote.json here", str(folder), do)
    try:
        key = read_json(path)
        made = tuple(Question(q["id"], q["image"], tuple(q["shown"]), q["check"]) for q in key["questions"])
        ballot = Ballot(key["kind"], key["page"], tuple(run["name"] for run in key["runs"]), made)
        _check(ballot, key["format"])
    except (KeyError, TypeError, ValueError, AttributeError, OSError) as error:
        do = "take the file that task=vote has written, or make the page again"
        raise DataError(f"this key of a vote cannot be read: {error!r}"[:300], str(path), do) from error
    return ballot


def _check(ballot: Ballot, version: object) -> None:
    """Raise ValueError for what we do not write."""
    runs, wide = len(ballot.runs), 2 if ballot.kind == "pairs" else 1
    sound = (
        version == FORMAT
        and ballot.kind in CHOICES
        and isinstance(ballot.page, str)
        and all(isinstance(name, str) for name in ballot.runs)
        and len({q.id for q in ballot.questions}) == len(ballot.questions)
        and all(isinstance(q.id, str) and type(q.image) is int and q.image >= 0 for q in ballot.questions)
        and all(len(q.shown) == wide and all(type(r) is int for r in q.shown) for q in ballot.questions)
        and all(_placed(q, runs) for q in ballot.questions)
    )
    if not sound:
        raise ValueError("it is of another format")


def _placed(q: Question, runs: int) -> bool:
    if q.check == "":
        return all(0 <= r < runs for r in q.shown) and len(set(q.shown)) == len(q.shown)
    if q.check == "same":
        return len(q.shown) == 2
    return sorted(q.shown) == {"real": [NOISE, REAL], "noise": [NOISE]}.get(q.check)
