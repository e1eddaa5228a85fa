"""What the network is told beside x_t and t. Imports torch only."""

from diffexp.conditioning.auto import ClassIfAny
from diffexp.conditioning.class_label import ClassLabel
from diffexp.conditioning.conditioning import Conditioning, Unconditional
from diffexp.conditioning.dropout import dropped
from diffexp.conditioning.text import Text

__all__ = ["ClassIfAny", "ClassLabel", "Conditioning", "Text", "Unconditional", "dropped"]
