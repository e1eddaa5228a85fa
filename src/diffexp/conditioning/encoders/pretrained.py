"""Any text encoder of transformers, from a folder or the hub, frozen; what it makes of a caption is kept."""

import hashlib
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from diffexp.conditioning.encoders.cache import Cache
from diffexp.conditioning.encoders.encoder import Encoded, TextEncoder
from diffexp.conditioning.encoders.frozen import Frozen
from diffexp.errors import ConfigError, DataError
from diffexp.hub import at, check_folder, folder_of, reason

CHUNK, FORMAT = 64, 1
CACHE = "~/.cache/diffexp/text"


class Pretrained(TextEncoder):
    """A frozen text encoder: CLIP's, T5's, a BERT. model: a folder with config.json, the weights and the
    tokenizer, or a name on the hub, which is downloaded once; no code of it is run.

    layer: -1 for what the last layer gives, -2 for the one before it, as some models are used; norm: whether
    the final norm of the model, if it has one, follows. length: tokens, at most; None for what the model can,
    and at most 256. mask: whether the padding is hidden from the network; None for what is usual: not with
    CLIP, whose captions are all filled up to `length`, and with all others.
    dtype: in which the outputs are kept. cache: the folder for them, None for none; cache_gb: its most.
    The vector is the pooled output of CLIP, and the mean of the tokens with all others.
    """

    piece = "tokens"
    learns = True

    def __init__(
        self,
        model: str,
        layer: int = -1,
        norm: bool = True,
        length: int | None = None,
        mask: bool | None = None,
        dtype: Literal["float32", "float16", "bfloat16"] = "float32",
        cache: str | None = CACHE,
        cache_gb: float = 50,
    ) -> None:
        super().__init__()
        if layer >= 0:
            raise ConfigError(f"layer={layer}", "text_encoder.layer", "count from the end: -1, -2, ...")
        if length is not None and not 1 <= length <= 1 << 16:
            raise ConfigError(f"length={length}", "text_encoder.length", "give a number from 1 to 65,536")
        self.source, self.layer, self.norm, self.length, self.mask = model, layer, norm, length, mask
        self.dtype: torch.dtype = getattr(torch, dtype)
        self.cache, self.cache_gb = cache, cache_gb
        self._frozen: Frozen | None = None
        self._loaded = False
        self._cache: Cache | None = None
        self.register_buffer("digest", torch.zeros(32, dtype=torch.uint8))  # so that the checkpoint knows it

    @property
    def frozen(self) -> Frozen:
        """The model itself, without its weights before they are needed. Raises DiffexpError."""
        if self._frozen is None:
            instead = "type text_encoder=words"
            folder = folder_of(str(self.source), "text_encoder.model", instead)
            check_folder(folder)
            with self._foreign(folder):
                self._frozen = Frozen(folder, self.layer, self.norm, self.length, self.mask)
        return self._frozen

    @contextmanager
    def _foreign(self, folder: Path) -> Generator[None]:
        """Raise DataError for whatever a foreign folder does wrong, which has no common type."""
        try:
            yield
        except (torch.OutOfMemoryError, ConfigError, DataError):
            raise
        except Exception as error:
            what = f"this is not a folder of a text encoder ({reason(error)})"
            raise DataError(what, str(folder), "give another by text_encoder.model=PATH") from error

    def setup(self) -> None:
        self.dim, self.room = self.frozen.dim, self.frozen.room
        self.concepts.setup(self.frozen.width)

    def learned(self) -> dict[str, Any]:
        words = self.concepts.learned()
        return {"concepts": words} if words else {}

    def remember(self, learned: Mapping[str, Any]) -> None:
        self.concepts.remember(learned.get("concepts") or {})

    def load(self) -> None:
        self._loaded = True
        digest = self.frozen.digest()
        self.digest = torch.tensor(list(digest), dtype=torch.uint8, device=self.digest.device)
        if self.cache is not None:
            told = f"{FORMAT} {digest.hex()} {self.layer} {self.norm} {self.room} {self.frozen.mask}"
            name = hashlib.sha256(f"{told} {self.dtype}".encode()).hexdigest()[:32]
            self._cache = Cache(at(self.cache) / name, self.dim, self.dtype, self.cache_gb * 1e9)

    def forward(self, texts: Sequence[str]) -> Encoded:
        distinct = list(dict.fromkeys(texts))
        new = {text: self.concepts.within(text) for text in distinct}
        with torch.no_grad():
            rows = self._rows([text for text in distinct if not new[text]])
        rows |= self._encoded([text for text in distinct if new[text]])  # never kept: the word is learned
        most = max(len(row) for row in rows.values()) - 1
        lengths = torch.tensor([len(rows[text]) - 1 for text in texts])
        filled = {text: F.pad(row.float(), (0, 0, 0, 1 + most - len(row))) for text, row in rows.items()}
        made = torch.stack([filled[text] for text in texts])
        made, mask = (part.to(self.digest.device) for part in (made, torch.arange(most) < lengths[:, None]))
        return Encoded(made[:, 1:], mask, made[:, 0])

    def _rows(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """Return of each caption its vector and then its tokens, (1 + L, dim), on the CPU."""
        keys = {text: hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest() for text in texts}
        kept = {text: None if self._cache is None else self._cache.get(key) for text, key in keys.items()}
        rows = {text: row for text, row in kept.items() if row is not None}
        missing = sorted((text for text in texts if text not in rows), key=len)
        for i in range(0, len(missing), CHUNK):
            made = {text: row.to(self.dtype) for text, row in self._encoded(missing[i : i + CHUNK]).items()}
            if not all(row.isfinite().all() for row in made.values()):
                do = "type text_encoder.dtype=float32, or get its weights again"
                raise DataError("the encoded captions are not finite", str(self.source), do)
            if self._cache is not None:
                self._cache.keep({keys[text]: row for text, row in made.items()})
            rows |= made
        return rows

    def _encoded(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """Run the model on captions, at most `CHUNK` of them without gradients; as `_rows`, float32."""
        if not texts:
            return {}
        with self._foreign(self.frozen.folder), torch.autocast(self.digest.device.type, enabled=False):
            made = self.frozen.rows(texts, self.digest.device, self.concepts)
        return {text: row.cpu() for text, row in zip(texts, made, strict=True)}

    def ids(self, text: str) -> list[int]:
        return self.frozen.ids(text)

    def embeddings(self) -> Tensor | None:
        return self.frozen.embeddings() if self._loaded else None

    @property
    def width(self) -> int:
        return self.frozen.width

    def lengths(self, texts: Sequence[str]) -> list[int]:
        return self.frozen.lengths(texts, self.concepts)
