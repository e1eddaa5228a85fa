"""The bytes of a caption: no vocabulary, and so no unknown word."""

from collections.abc import Sequence

from diffexp.conditioning.encoders.transformer import Trained


class Bytes(Trained):
    """The caption's UTF-8, a small transformer over its bytes, trained along with the network. length: bytes
    that are read of a caption, at most.
    """

    piece = "bytes"

    def __init__(self, width: int = 64, layers: int = 2, heads: int = 4, length: int = 128) -> None:
        super().__init__(width, layers, heads, length)

    def rows(self) -> int:
        return 256

    def pieces(self, text: str) -> list[int]:
        return [1 + byte for byte in text[: 4 * self.length].encode("utf-8", "replace")]

    def lengths(self, texts: Sequence[str]) -> list[int]:
        # not of `pieces`, which reads no further than it must
        return [
            sum(len(p.encode("utf-8", "replace")) if isinstance(p, str) else len(p) for p in parts)
            for parts in map(self.concepts.parts, texts)
        ]
