"""The words of a caption in any script."""

import unicodedata
from functools import lru_cache

_CUT = 100_000  # letters of a caption that are looked at
_ALONE = ("\u2e80\ua4cf", "\uac00\ud7a3", "\uf900\ufaff", "\U00020000\U0003ffff")  # no blanks between words
_JOINED = "\u200c\u200d\u00ad\ufe0e\ufe0f"


class _Table(dict[int, str | None]):
    """A letter stays, becomes a blank, stands alone, or goes: found out when it is first seen."""

    def __missing__(self, number: int) -> str | None:
        letter = chr(number)
        kind = unicodedata.category(letter)[0]
        made: str | None = letter
        if letter in _JOINED:
            made = None
        elif kind == "S" or any(a <= letter <= b for a, b in (pair for pair in _ALONE)):
            made = f" {letter} "
        elif kind not in "LMN":
            made = " "
        self[number] = made
        return made


_TABLE = _Table()


@lru_cache(maxsize=1 << 16)
def words_of(text: str) -> tuple[str, ...]:
    """Return the words of a caption, in small letters, without punctuation: "A T-shirt, red" has the words a,
    t, shirt, red. A symbol, an emoji and a letter of a script without blanks are words of their own.
    """
    small = unicodedata.normalize("NFKC", text[:_CUT]).casefold()
    return tuple(small.translate(_TABLE).split())
