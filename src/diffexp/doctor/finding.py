"""What an examination has found: a cause, how strong the evidence for it is, and what to type next."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from PIL import Image

Symptom = Literal["blur", "condition", "artefacts", "collapse"]
SYMPTOMS: Mapping[str, str] = {
    "blur": "blur and missing detail",
    "condition": "class or text that is not followed",
    "artefacts": "artefacts and over-sharpening",
    "collapse": "drift and collapse",
}
MOST = 5.0  # of the strength: of several plain causes none is to outweigh the others by its unit


@dataclass(frozen=True)
class Finding:
    """cause: in a few words; strength: the effect over the threshold of its examination, so that 1 and above
    is a cause, at most 5; saw: what was measured, a sentence; do: command lines, without the program, that
    confirm or mend it; rows: what is shown on the page, a head and its rows; pictures: by their titles.
    """

    cause: str
    symptom: Symptom
    strength: float
    saw: str
    do: Sequence[Sequence[str]] = ()
    rows: tuple[Sequence[str], Sequence[Sequence[object]]] | None = None
    pictures: Mapping[str, Image.Image] = field(default_factory=dict[str, Image.Image])

    @property
    def ill(self) -> bool:
        """True where the effect is above the threshold."""
        return self.strength >= 1


def strength(effect: float, threshold: float, separated: bool = True) -> float:
    """Return the effect over its threshold, from 0 to 5; below 1 where chance may have made it."""
    ratio = min(MOST, max(0.0, effect / threshold)) if effect == effect else 0.0  # NaN is no effect
    return ratio if separated else min(ratio, 0.99)
