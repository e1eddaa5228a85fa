"""The words of a caption in any script."""

import unicodedata
from functools import lru_cache

_CUT = 100_000  # letters of a caption that are looked at
_KEPT = 1000  # and of one whose words are remembered
_ALONE = ("\u2e80\ua4cf", "\uf900\ufaff", "\U00020000\U0003ffff")  # scripts without blanks between words
_JOINED = "\u200c\u200d\u00ad\ufe0e\ufe0f"


class _Table(dict[int, str | None]):
    """A letter stays, becomes a blank, stands alone, or goes: found out when it is first seen."""

    def __missing__(self, number: int) -> str | None:
        letter = chr(number)
        kind = unicodedata.category(letter)[0]
        made: str | None = letter
        if letter in _JOINED:
            made = None
        elif kind not in "LMNS":
            made = " "
        elif kind == "S" or any(first <= letter <= last for first, last in _ALONE):
            made = f" {letter} "
        self[number] = made
        return made


_TABLE = _Table()


def words_of(text: str) -> tuple[str, ...]:
    """Return the words of a caption, in small letters, without punctuation: "A T-shirt, red" has the words a,
    t, shirt, red. A symbol, an emoji and a letter of a script without blanks are words of their own.
    """
    return _kept(text) if len(text) < _KEPT else _split(text)


def _split(text: str) -> tuple[str, ...]:
    small = unicodedata.normalize("NFKC", text[:_CUT]).casefold()
    return tuple(small.translate(_TABLE).split())


_kept = lru_cache(maxsize=1 << 16)(_split)
