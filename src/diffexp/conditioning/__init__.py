"""What the network is told beside x_t and t. Imports torch only."""

from diffexp.conditioning.auto import ClassIfAny
from diffexp.conditioning.class_label import ClassLabel
from diffexp.conditioning.class_text import ClassText
from diffexp.conditioning.conditioning import Conditioning, Unconditional
from diffexp.conditioning.dropout import dropped
from diffexp.conditioning.text import Text
from diffexp.conditioning.with_size import WithSize

__all__ = [
    "ClassIfAny", "ClassLabel", "ClassText", "Conditioning", "Text", "Unconditional", "WithSize", "dropped",
]  # fmt: skip
