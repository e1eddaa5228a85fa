"""Words from a table of a file, as a text encoder is one, and a layer after it that is trained."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from safetensors.torch import load_file
from torch import nn

from diffexp.condition import Condition
from diffexp.errors import DataError
from plugins.words import Words


class Encoder(Words):
    """file: a .safetensors with the table, `weight`."""

    def __init__(self, file: str, rows: int = 256, width: int = 16, dropout: float = 0.1) -> None:
        super().__init__(rows, width, dropout=dropout)
        self.source, self.learn = file, nn.Linear(width, width)
        self.table.requires_grad_(False)  # so it is the file's, and no checkpoint holds it

    def check(self) -> None:
        if not Path(str(self.source)).is_file():
            raise DataError("the table of words is not there", str(self.source), "give conditioning.file=...")

    def load(self) -> None:
        self.table = nn.Embedding.from_pretrained(load_file(str(self.source))["weight"], freeze=True)

    def _read(self, texts: Sequence[str]) -> Condition:
        read = super()._read(texts)
        return replace(read, tokens=self.learn(read.tokens))
