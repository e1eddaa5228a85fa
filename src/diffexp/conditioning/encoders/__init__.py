"""Text encoders: what a caption is for the network."""

from diffexp.conditioning.encoders.encoder import Encoded, TextEncoder
from diffexp.conditioning.encoders.letters import Bytes
from diffexp.conditioning.encoders.pretrained import Pretrained
from diffexp.conditioning.encoders.words import Words

__all__ = ["Bytes", "Encoded", "Pretrained", "TextEncoder", "Words"]
