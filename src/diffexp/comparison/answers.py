"""The answers of voters: files that vote.html has saved, checked against the key of its vote.

Each voter sees an order and sides of their own; an answer says on which side the image stood for that voter.
Of files of format 1 the sides are those of the key.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from diffexp.comparison.ballot import CHOICES, Ballot, Question
from diffexp.comparison.votes import Answers
from diffexp.errors import DataError
from diffexp.escape import line
from diffexp.files import read_small

MOST_BYTES, LONGEST = 16 << 20, 100
FORMATS = (1, 2)  # of answers


@dataclass(frozen=True)
class Voter:
    """name: as it was typed, or the name of the file; given: the answers by the questions' ids; failed: how
    many of the `checks` that were answered; turned: the ids of the questions whose sides were the other way.
    """

    name: str
    given: Mapping[str, str | int]
    failed: int
    checks: int
    session: str = field(default="", repr=False)
    turned: frozenset[str] = field(default=frozenset(), repr=False)


def read_voters(ballot: Ballot, paths: Sequence[Path]) -> list[Voter]:
    """Read a file of each voter. Raises DataError with all that is wrong, a line each."""
    voters, wrong = list[tuple[Path, Voter]](), list[DataError]()
    for path in paths:
        try:
            voters.append((path, _read(ballot, path)))
        except DataError as error:
            wrong.append(error)
    wrong += _twice(voters)
    if len(wrong) == 1:
        raise wrong[0]
    if wrong:
        lines = [f"{e.what}: {e.where} ({e.do})" for e in wrong]
        raise DataError(f"{len(wrong)} files of answers cannot be used\n" + "\n".join(lines), "task.answers")
    return [voter for _, voter in voters]


def _twice(voters: Sequence[tuple[Path, Voter]]) -> list[DataError]:
    """Return what is wrong with voters of whom there are two files."""
    seen, wrong = dict[str, Path](), list[DataError]()
    for path, voter in voters:
        names = [f"session {voter.session}", f"name {voter.name.casefold()}"]
        other = next((seen[name] for name in names if name in seen), None)
        if other is not None:
            what = f"{voter.name} has voted twice, also in {other}"
            wrong.append(DataError(what, str(path), "leave the older file away"))
        seen |= dict.fromkeys(names, path)
    return wrong


def _read(ballot: Ballot, path: Path) -> Voter:
    try:
        told: Any = json.loads(read_small(path, MOST_BYTES))
    except OSError as error:
        do = "give the file that a voter has saved"
        raise DataError(f"these answers cannot be read: {error.strerror}", str(path), do) from error
    except (ValueError, RecursionError) as error:
        do = "have the page save them again"
        what = f"these answers are damaged: {str(error)[:200]}"
        raise DataError(what, str(path), do) from error
    told = told if isinstance(told, dict) else {}
    if told.get("format") not in FORMATS or not isinstance(told.get("answers"), dict):
        raise DataError("these are no answers of a vote", str(path), "give the file that a voter has saved")
    if told.get("page") != ballot.page:
        do = "give the folder of their page as task.path, or leave the file away"
        raise DataError("these are answers of another page", str(path), do)
    _check(ballot, told["answers"], path)
    turned = _turned(ballot, [] if told["format"] == 1 else told.get("turned"), path)
    given = told["answers"]
    checks = [q for q in ballot.questions if q.check and q.id in given]
    failed = sum(not seen(q, turned).passed(given[q.id]) for q in checks)
    name, session = (v if isinstance(v := told.get(k), str) else "" for k in ("voter", "session"))
    name = line(name)[:LONGEST] or path.stem
    return Voter(name, given, failed, len(checks), session or str(path.resolve()), turned)


def seen(q: Question, turned: Collection[str]) -> Question:
    """Return a question as it stood for a voter for whom these were the other way."""
    return replace(q, shown=q.shown[::-1]) if q.id in turned else q


def _turned(ballot: Ballot, turned: object, path: Path) -> frozenset[str]:
    """Return which questions were the other way. Raises DataError for what our page does not write."""
    known = {q.id for q in ballot.questions if len(q.shown) == 2}
    if not isinstance(turned, list) or not all(isinstance(name, str) and name in known for name in turned):
        what = "these answers do not say on which sides the images stood"
        raise DataError(what, str(path), "have the page save them again, or leave the file away")
    return frozenset(turned)


def _check(ballot: Ballot, answers: Mapping[str, Any], path: Path) -> None:
    known, do = {q.id for q in ballot.questions}, "have the page save them again, or leave the file away"
    if not answers:
        raise DataError("there is no answer in this file", str(path), "leave it away")
    if unknown := [name for name in answers if name not in known]:
        some = ", ".join(str(name)[:20] for name in unknown[:3])
        what = f"{len(unknown)} of the answers are to no question of this page ({some})"
        raise DataError(what, str(path), do)
    choices = CHOICES[ballot.kind]
    if other := [v for v in answers.values() if type(v) is not type(choices[0]) or v not in choices]:
        some = ", ".join(map(str, choices))
        raise DataError(f"{str(other[0])[:40]!r} is no answer: {some} are", str(path), do)


def collected(ballot: Ballot, voters: Sequence[Voter]) -> Answers:
    """Return the answers of voters as numbers, without those to checks."""
    asked = {q.id: q for q in ballot.questions if not q.check}
    rows = [
        (i, q.image, q.shown[0], q.shown[-1], _score(value))
        for i, voter in enumerate(voters)
        for name, value in voter.given.items()
        if name in asked
        for q in [seen(asked[name], voter.turned)]
    ]
    voter, unit, first, second = np.array([row[:4] for row in rows], dtype=np.int64).reshape(-1, 4).T
    return Answers(voter, unit, first, second, np.array([row[4] for row in rows], dtype=np.float64))


def _score(value: str | int) -> float:
    return {"left": 1.0, "tie": 0.5, "right": 0.0}[value] if isinstance(value, str) else float(value)


def ratings(answers: Answers, voters: int) -> np.ndarray:
    """Return what each voter has said of each question, float64 (voters, questions), NaN for nothing: the
    score of the run with the lower number, or the mark.
    """
    turned = answers.first > answers.second
    low, high = np.minimum(answers.first, answers.second), np.maximum(answers.first, answers.second)
    score = np.where(turned, 1 - answers.score, answers.score)
    _, unit = np.unique(np.stack([answers.unit, low, high]), axis=1, return_inverse=True)
    out = np.full((voters, int(unit.max(initial=-1)) + 1), np.nan)
    out[answers.voter, unit.ravel()] = score
    return out
